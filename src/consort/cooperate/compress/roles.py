"""Which parts of a prompt may be shortened: context and demonstrations; instructions and questions never.

A prompt says it itself where it is `Marked` (a task line with `context`) or quotes a retriever's evidence. A chat says
it by its messages: what the system says are instructions, earlier turns are demonstrations, the last turn is read as a
text. Of a plain text the last paragraph is the question and what stands before it is context, paragraph by paragraph;
in a single paragraph the same is true of lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from consort.cooperate.compress.parts import TOUCHED, Compression, Part, Role, Span
from consort.cooperate.compress.units import paragraphs
from consort.core.marked import Marked
from consort.core.types import Prompt

_QUOTED = re.compile(r"^<source (\d+): [^\n>]*>\n(.*?)\n</source \1>$", re.M | re.S)
"""How a retriever's evidence is quoted (see `cooperate.retrieve.quoting`); its own text cannot close the quotation."""


@dataclass(frozen=True, slots=True)
class Divided:
    """A prompt in parts, how they were told apart, and what makes a prompt of them again."""

    parts: list[Part]
    how: str
    join: Callable[[Sequence[str]], Prompt]

    @property
    def question(self) -> str:
        return "\n".join(part.text for part in self.parts if part.role == "question").strip()

    def joined(self, done: Sequence[Compression]) -> Prompt:
        """The prompt with these texts in the places of its parts."""
        return self.join([one.text for one in done])


def parts_of(prompt: Prompt) -> Divided:
    """The parts of a prompt.

    >>> [(p.role, p.text) for p in parts_of("Ann ate.\\n\\nBob slept.\\n\\nWho ate?").parts]
    [('context', 'Ann ate.\\n\\n'), ('context', 'Bob slept.\\n\\n'), ('question', 'Who ate?')]
    """
    if isinstance(prompt, str):
        parts, how = _of_text(prompt)
        return Divided(parts, how, "".join)
    return _of_chat(prompt)


def _of_text(text: str) -> tuple[list[Part], str]:
    if isinstance(text, Marked):
        return _of_marked(text, text.context), "marked"
    if quoted := [match.span(2) for match in _QUOTED.finditer(text)]:
        return _of_marked(text, quoted), "quoted evidence"
    blocks = paragraphs(text)
    if len(blocks) > 1:
        return [*_parts(text, blocks[:-1], "context"), Part(text[blocks[-1].start :], "question")], "paragraphs"
    lines = text.splitlines(keepends=True)
    while len(lines) > 1 and not lines[-1].strip():
        lines[-2:] = ["".join(lines[-2:])]
    if len(lines) > 1:
        return [Part("".join(lines[:-1])), Part(lines[-1], "question")], "lines"
    return [Part(text, "question")] if text else [], "no context"


def _of_marked(text: str, spans: Sequence[tuple[int, int]]) -> list[Part]:
    parts, at = [], 0
    for start, end in spans:
        if start > at:
            parts.append(Part(text[at:start], "instruction"))
        parts.append(Part(text[start:end], "context"))
        at = end
    return [*parts, Part(text[at:], "question")] if at < len(text) else parts


def _parts(text: str, spans: Sequence[Span], role: Role) -> list[Part]:
    return [Part(text[start:end], role) for start, end in spans]


def _of_chat(messages: Sequence[Any]) -> Divided:
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
    parts: list[Part] = []
    owners: list[int] = []
    how = "messages"
    for number, message in enumerate(messages):
        content = message["content"]
        if not isinstance(content, str) or not content:
            continue
        found = [Part(content, "instruction" if message["role"] in ("system", "developer") else "demonstration")]
        if number == last:
            found, split = _of_text(content)
            how = f"messages, {split}"
        parts += found
        owners += [number] * len(found)

    def join(texts: Sequence[str]) -> list[Any]:
        said: dict[int, str] = {}
        for owner, text in zip(owners, texts, strict=True):
            said[owner] = said.get(owner, "") + text
        return [{**m, "content": said.get(i, m["content"])} for i, m in enumerate(messages)]

    return Divided(parts, how, join)


def touched(parts: Sequence[Part]) -> bool:
    """Whether there is anything that may be shortened."""
    return any(part.role in TOUCHED and part.text for part in parts)
