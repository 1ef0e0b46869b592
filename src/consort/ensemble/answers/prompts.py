"""Putting answers into a prompt: numbered lists of what models said, and prompts that ask to make one of many."""

from __future__ import annotations

from collections.abc import Sequence

from consort.core.types import Message, Prompt
from consort.ensemble.answers.samples import filled


def numbered(answers: Sequence[str]) -> str:
    """The answers as a numbered list, an empty line between them."""
    return "\n\n".join(f"{number}. {answer.strip()}" for number, answer in enumerate(answers, 1))


def with_answers(prompt: Prompt, instruction: str, answers: Sequence[str]) -> Prompt:
    """The prompt with `instruction`, in which {answers} is replaced: a chat's first system message, before a text.

    A system message that is there already comes after it in the same message, as chat templates allow only one.
    """
    heading = filled(instruction, answers=numbered(answers))
    if isinstance(prompt, str):
        return f"{heading}\n\n{prompt}"
    first = prompt[0]
    if first["role"] == "system":
        return [Message(role="system", content=f"{heading}\n\n{first['content']}"), *prompt[1:]]
    return [Message(role="system", content=heading), *prompt]
