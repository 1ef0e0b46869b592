"""Multiple choice by what is written: the answer names the right option (Model Swarms, 2410.11163, released code)."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from consort.core.errors import BadData
from consort.core.types import Example
from consort.evaluate.registry import metric

ENDS = 5
"""Characters at the start and at the end of an answer in which a letter counts."""
NO_OPTION = "Z"
LETTERS = ascii_uppercase[:-1]


@metric(needs="generate", unit=True)
def multiple_choice(answer: str, example: Example) -> float:
    """1 if the option that the answer names is the one at `answer`, else 0.

    The prompt shows the `choices` as A, B, C, …; at most 25 of them, else BadData.
    """
    return float(option_of(answer, options_of(example)) == LETTERS[example.answer or 0])


def option_of(answer: str, choices: Sequence[str]) -> str:
    """The letter of the option that an answer names, "Z" if none.

    It is the first of the options' letters that stands in the first five characters, else in the last five; else that
    of the first option whose text stands in the answer, upper and lower case alike. So "Answer: B" names A: let the
    prompt end with words that a letter follows.

    >>> option_of(" B: blue", ["red", "blue"]), option_of("it is red", ["red", "blue"]), option_of("?", ["red", "blue"])
    ('B', 'A', 'Z')
    """
    letters = LETTERS[: len(choices)]
    for part in (answer[:ENDS], answer[-ENDS:]):
        for letter in letters:
            if letter in part:
                return letter
    lowered = answer.lower()
    return next((letter for letter, text in zip(letters, choices, strict=True) if text.lower() in lowered), NO_OPTION)


def options_of(example: Example) -> tuple[str, ...]:
    """The choices of an example, which have letters. Raises BadData where there are too many."""
    if len(example.choices) > len(LETTERS):
        message = f"{len(example.choices)} options have no letters"
        raise BadData(message, field=f"line {example.line}: choices", hint=f"at most {len(LETTERS)}")
    return example.choices
