"""The last number of a text, as `numeric` grades it."""

from __future__ import annotations

from typing import Annotated

from consort.core.params import Range
from consort.ensemble.readings import reading
from consort.evaluate.metrics.numeric import last_number


@reading()
class Numeric:
    """The last number: "so $1,234.50." is "1234.5".

    `decimals`: numbers that are equal when rounded to so many places are one answer (default: as they stand).
    """

    def __init__(self, *, decimals: Annotated[int, Range(0, 15)] | None = None) -> None:
        self.decimals = decimals

    def __call__(self, text: str) -> str | None:
        value = last_number(text)
        if value is None:
            return None
        return written(value if self.decimals is None else round(value, self.decimals))


def written(value: float) -> str:
    """A number in the one way in which equal numbers are written: 18.0 and 18 are "18", -0.0 is "0"."""
    return f"{value + 0.0 if value else 0.0:.10g}"
