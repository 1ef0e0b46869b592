"""One cell of a table: a number in its range, tokens, an answer, or what is not known."""

from __future__ import annotations

import math
from typing import Any

from consort.core.errors import BadData

TRUTH = {"true": 1.0, "false": 0.0}
UNKNOWN = frozenset(("", "nan", "none", "null", "na", "n/a", "#n/a", "<na>", "-", "?"))
MOST = 1e12
"""Of tokens or of money: sums of more are no finite numbers, or none that a table can show."""

NAN = float("nan")
Scale = tuple[float, float]
UNIT: Scale = (0.0, 1.0)


def as_number(value: Any) -> float | None:
    """A number, true or false; NaN for what is written where nothing is known; None for anything else."""
    if value is None:
        return NAN
    if isinstance(value, str):
        word = value.strip().lower()
        if word in UNKNOWN:
            return NAN
        value = TRUTH.get(word, word)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isinf(number) else number


def quality_of(value: Any, where: str, scale: Scale) -> float:
    """A score as a quality in [0, 1], by the range of scores; NaN where it is unknown. Raises BadData."""
    low, high = scale
    return (number_of(value, where, "a quality", low, high) - low) / (high - low)


def number_of(value: Any, where: str, what: str, low: float, high: float) -> float:
    """A cell as a number in [low, high], NaN where it is unknown. Raises BadData."""
    number = as_number(value)
    if number is None or number < low or number > high:
        hint = f"give a number in [{low:g}, {high:g}], or null where it is unknown"
        if what == "a quality" and number is not None:
            hint += "; scores of another range are read with `scale`: table:FILE?scale=100, or scale=-1..1"
        raise BadData(f"{short(value)} is not {what}", field=where, hint=hint)
    return number


def tokens_of(value: Any, where: str) -> tuple[float, float]:
    """Tokens of prompt and completion; a single number counts the completion. Raises BadData."""
    pair = value if isinstance(value, list) and len(value) == 2 else [0 if value is not None else None, value]
    read, written = (number_of(n, where, "a number of tokens", 0.0, MOST) for n in pair)
    return read, written


def answer_of(value: Any, where: str) -> str | None:
    """A cell as text, None where it is unknown. Raises BadData."""
    if value is not None and not isinstance(value, str):
        raise BadData(f"{short(value)} is not an answer", field=where, hint="a string, or null where it is unknown")
    return value


def short(value: Any) -> str:
    """A value as it is shown in an error: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
