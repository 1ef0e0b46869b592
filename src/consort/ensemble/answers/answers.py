"""What an answer says: the part of a text that answers can be compared by, None where it cannot be read.

One reading for each way of grading, so that answers that a task counts as equal are one answer in a vote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from consort.core.errors import BadParameter, did_you_mean
from consort.evaluate.metrics.numeric import NUMBER, last_number
from consort.evaluate.metrics.token_f1 import normalised_words

Reading = Callable[[str], str | None]
STATED = re.compile(r"answer\s*(?:is|:)?\s*\**\s*[(\[]?([A-Z])(?![a-zA-Z'])", re.IGNORECASE)
ALONE = re.compile(r"\s*\**[(\[]?([A-Za-z])[)\].:]?\**\s*")
LEADING = re.compile(r"\s*\**[(\[]?([A-Z])[)\].:]\s")
BRACKETED = re.compile(r"[(\[]([A-Z])[)\]]")


def exact(text: str) -> str | None:
    """The stripped text; an empty one is no answer."""
    return text.strip() or None


def words(text: str) -> str | None:
    """The text without case, punctuation and articles, as `token_f1` grades it."""
    return " ".join(normalised_words(text)) or None


def numeric(text: str) -> str | None:
    """The last number, as `numeric` grades it: "so $1,234.50." is "1234.5"."""
    value = last_number(text)
    return None if value is None else written(value)


def first_number(text: str) -> str | None:
    """The first number, for answers that were cut out of a text and may carry a unit."""
    found = NUMBER.search(text)
    return numeric(found.group(0)) if found else None


def choice(text: str) -> str | None:
    """The letter of an option: the last one stated as the answer, else a letter alone, in front, or in brackets."""
    stated = [letter for letter in STATED.findall(text) if letter.isupper()]
    if stated:
        return str(stated[-1])
    alone = ALONE.fullmatch(text)
    if alone:
        return alone.group(1).upper()
    leading = LEADING.match(text)
    bracketed = BRACKETED.findall(text)
    return leading.group(1) if leading else str(bracketed[-1]) if bracketed else None


def written(value: float) -> str:
    """A number in the one way in which equal numbers are written: 18.0 and 18 are "18", -0.0 is "0"."""
    return f"{value + 0.0 if value else 0.0:.10g}"


READINGS: dict[str, Reading] = {
    "choice": choice,
    "exact": exact,
    "first_number": first_number,
    "numeric": numeric,
    "words": words,
}
OF_METRIC = {"choice": "choice", "numeric": "numeric", "token_f1": "words"}


def reading(name: str) -> Reading:
    """The reading called `name`. Raises BadParameter."""
    if name not in READINGS:
        raise BadParameter(f"no way to read answers named {name!r}", field="answer", hint=did_you_mean(name, READINGS))
    return READINGS[name]


def reading_of_metric(metric: str) -> str:
    """The name of the reading that goes with a task's metric: texts are compared as they are where none is better."""
    return OF_METRIC.get(metric, "exact")


def codes(answers: Sequence[str | None]) -> list[int]:
    """Answers as numbers in order of first appearance; -1 for those that cannot be read."""
    known: dict[str, int] = {}
    return [-1 if answer is None else known.setdefault(answer, len(known)) for answer in answers]
