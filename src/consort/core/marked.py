"""A prompt that knows which of its characters are evidence for the rest; to everybody else it is a plain string."""

from __future__ import annotations

from collections.abc import Sequence


class Marked(str):
    """A text with the character spans [start, end) that are context: what a task line or a retriever laid beside it.

    >>> prompt = Marked.beside("Who?", ["Ann did it.", "Bob slept."])
    >>> str(prompt), [prompt[a:b] for a, b in prompt.context]
    ('Ann did it.\\n\\nBob slept.\\n\\nWho?', ['Ann did it.\\n\\n', 'Bob slept.\\n\\n'])
    """

    context: tuple[tuple[int, int], ...]

    def __new__(cls, text: str, context: Sequence[tuple[int, int]] = ()) -> Marked:
        marked = super().__new__(cls, text)
        marked.context = tuple(context)
        return marked

    @classmethod
    def beside(cls, prompt: str, passages: Sequence[str]) -> Marked:
        """The prompt after passages of context, each a paragraph."""
        text, spans = "", []
        for passage in passages:
            start = len(text)
            text += f"{passage}\n\n"
            spans.append((start, len(text)))
        return cls(text + prompt, spans)

    def __getnewargs__(self) -> tuple[str, tuple[tuple[int, int], ...]]:  # type: ignore[override]
        return str(self), self.context
