"""The letter of an option."""

from __future__ import annotations

import re
from typing import Annotated

from consort.core.params import Range
from consort.ensemble.readings import reading

STATED = re.compile(r"answer\s*(?:is|:)?\s*\**\s*[(\[]?([A-Z])(?![a-zA-Z'])", re.IGNORECASE)
ALONE = re.compile(r"\s*\**[(\[]?([A-Za-z])[)\].:]?\**\s*")
LEADING = re.compile(r"\s*\**[(\[]?([A-Z])[)\].:]\s")
BRACKETED = re.compile(r"[(\[]([A-Z])[)\]]")


@reading()
class Choice:
    """The letter of an option: the last one stated as the answer, else a letter alone, in front, or in brackets.

    `options`: how many there are; a letter beyond the last is no answer.
    """

    def __init__(self, *, options: Annotated[int, Range(2, 26)] = 26) -> None:
        self.options = options

    def __call__(self, text: str) -> str | None:
        letter = letter_of(text)
        return letter if letter is not None and ord(letter) - ord("A") < self.options else None


def letter_of(text: str) -> str | None:
    """The letter that a text answers with, in upper case."""
    stated = [letter for letter in STATED.findall(text) if letter.isupper()]
    if stated:
        return str(stated[-1])
    alone = ALONE.fullmatch(text)
    if alone:
        return alone.group(1).upper()
    leading = LEADING.match(text)
    bracketed = BRACKETED.findall(text)
    return leading.group(1) if leading else str(bracketed[-1]) if bracketed else None
