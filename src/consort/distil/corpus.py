"""The texts of a fusion: what all models read, and which bytes of it are learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from consort.core.errors import BadData
from consort.core.journal import key_of
from consort.core.types import Example, Message, Prompt
from consort.data.rows import example_of, parse_row, read_lines
from consort.models.base import Tokenizer
from consort.models.tokens.ends import Spelled, spell

Span = tuple[int, int]
"""Bytes [start, stop) of a text."""


@dataclass(frozen=True)
class Document:
    """A text and its spans that are learnt: all of a plain text, the answers of a chat.

    `whole` tells that the text ends here, so that every model's end token follows it.
    """

    text: str
    spans: tuple[Span, ...]
    whole: bool = True
    group: str | None = None

    @cached_property
    def size(self) -> int:
        """Bytes of the text."""
        return len(self.text.encode())

    @cached_property
    def key(self) -> int:
        """64 bits that tell this document from others."""
        content = f"{self.spans} {self.whole}\n{self.text}".encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")

    def spelled(self, tokenizer: Tokenizer) -> Spelled:
        return spell(tokenizer, self.text, end=self.whole)

    def learnt(self) -> tuple[Span, ...]:
        """The spans, the end token (one byte after the text) with the last if it reaches the end."""
        return tuple((a, b + 1 if b == self.size and self.whole else b) for a, b in self.spans)


def corpus_key(documents: Sequence[Document]) -> str:
    """A hash of the documents in order."""
    return key_of([document.key for document in documents])


def read_corpus(path: str | Path, pivot: Tokenizer, *, separator: str = " ") -> list[Document]:
    """The documents of a JSONL file, in order.

    A line is `{"text"}`, learnt as a whole; `{"prompt", "target"}`, joined by `separator`, of which separator and
    target are learnt; or `{"messages"}`, written by the pivot's chat template, of which the assistant's turns are
    learnt. Raises BadData with the line.
    """
    found = [_document(example, pivot, separator, where) for example, where in _examples(path)]
    if not found:
        raise BadData("holds no texts", field=str(path), hint='one {"text": …} or {"prompt": …, "target": …} a line')
    return found


def _examples(path: str | Path) -> Iterator[tuple[Example, str]]:
    """The lines of a JSONL file, each with its place."""
    for number, line in read_lines(Path(path)):
        where = f"{path}:{number}"
        yield example_of(parse_row(line, where), where, number), where


def _document(example: Example, pivot: Tokenizer, separator: str, where: str) -> Document:
    if example.text is not None:
        return Document(example.text, ((0, len(example.text.encode())),), group=example.group)
    if example.prompt is not None:
        if not example.target or not example.target[0]:
            raise BadData("a prompt without a target", field=where, hint="add a target, or write it as text")
        return answered(example.prompt, f"{separator}{example.target[0]}", example.group)
    turns = [*(example.messages or ())]
    turns += [Message(role="assistant", content=example.target[0])] if example.target else []
    return _chat(turns, pivot, where, example.group)


def answered(head: str, answer: str, group: str | None = None) -> Document:
    """A text of which what follows `head` is learnt."""
    start = len(head.encode())
    return Document(head + answer, ((start, start + len(answer.encode())),), group=group)


def _chat(turns: Sequence[Message], pivot: Tokenizer, where: str, group: str | None) -> Document:
    """The chat up to its last answer, as the pivot's template writes it; every answer is a span."""
    places = [i for i, turn in enumerate(turns) if turn["role"] == "assistant" and i]
    if not places or places[-1] != len(turns) - 1:
        raise BadData("a chat does not end with an answer", field=where, hint="the last message is the assistant's")
    heads = [pivot.chat(list(turns[:i])) for i in places]
    text = heads[-1] + turns[places[-1]]["content"]
    spans = []
    for head, i in zip(heads, places, strict=True):
        answer = turns[i]["content"]
        rest = text[len(head) :]
        gap = 0 if rest.startswith(answer) else len(rest) - len(rest.lstrip())
        if not text.startswith(head) or not rest[gap:].startswith(answer):
            what = "the chat template rewrites earlier turns once later ones are there"
            raise BadData(what, field=where, hint="give one answer a line")
        start = len((head + rest[:gap]).encode())
        spans.append((start, start + len(answer.encode())))
    return Document(text, tuple(spans), group=group)


def fitted(documents: Sequence[Document], tokenizers: Sequence[Tokenizer], block: int) -> list[Document]:
    """The documents cut so that no tokenizer makes more than `block` tokens of any.

    A plain text goes on in the next document; of others the rest is lost. A document of which nothing that is learnt
    remains is left out.
    """
    return [part for document in documents for part in _parts(document, tokenizers, block) if part.spans]


def _parts(document: Document, tokenizers: Sequence[Tokenizer], block: int) -> Iterator[Document]:
    is_plain = document.spans == ((0, document.size),)
    while True:
        limit = min((_limit(document, tokenizer, block) for tokenizer in tokenizers), default=document.size)
        if limit >= document.size:
            yield document
            return
        head, rest = _cut(document.text, limit)
        spans = tuple((a, min(b, len(head.encode()))) for a, b in document.spans if a < len(head.encode()))
        yield Document(head, spans, whole=False, group=document.group)
        if not is_plain or not rest or not head:
            return
        document = Document(rest, ((0, len(rest.encode())),), document.whole, document.group)


def _limit(document: Document, tokenizer: Tokenizer, block: int) -> int:
    """How many bytes the tokenizer can read within `block` tokens."""
    spelled = document.spelled(tokenizer)
    return document.size if len(spelled) <= block else int(min(spelled.ends[block - 1], document.size - 1))


def _cut(text: str, limit: int) -> tuple[str, str]:
    """The text up to at most `limit` bytes, before a space where there is one in the second half."""
    head = text.encode()[:limit].decode(errors="ignore")
    space = head.rfind(" ")
    head = head[:space] if space > len(head) // 2 else head
    return head, text[len(head) :]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as a model is asked, and `head`: the same as the pivot reads it before the answer."""

    prompt: Prompt
    head: str
    example: Example


def read_prompts(path: str | Path, pivot: Tokenizer, *, graded: bool) -> list[Asked]:
    """The prompts of a JSONL file, in order: `{"prompt"}` or `{"messages"}`, the last of these the user's.

    With `graded` each needs a `target`, since answers are right or wrong by it. Raises BadData with the line.
    """
    found = [_asked(example, pivot, graded, where) for example, where in _examples(path)]
    if not found:
        raise BadData("holds no prompts", field=str(path), hint='one {"prompt": …} or {"messages": …} a line')
    return found


def _asked(example: Example, pivot: Tokenizer, graded: bool, where: str) -> Asked:
    if example.text is not None:
        raise BadData("a text asks nothing", field=where, hint="the mode preference needs a prompt or messages")
    if graded and not example.target:
        hint = "add one, or name a reward model: `reward: FOLDER`"
        raise BadData("no target to tell right from wrong", field=where, hint=hint)
    if example.prompt is not None:
        return Asked(example.prompt, example.prompt, example)
    turns = list(example.messages or ())
    if turns[-1]["role"] == "assistant":
        raise BadData("the chat ends with an answer", field=where, hint="leave out the last message")
    return Asked(turns, pivot.chat(turns), example)


def continued(head: str, answer: str, separator: str = " ") -> str:
    """The answer as it goes on from `head`: a model may leave out the space between them."""
    return answer if not head or head[-1:].isspace() or answer[:1].isspace() else separator + answer
