"""The first number of a text."""

from __future__ import annotations

from consort.ensemble.readings import reading
from consort.ensemble.readings.numeric import Numeric
from consort.evaluate.metrics.numeric import NUMBER


@reading()
class FirstNumber:
    """The first number, for answers that were cut out of a text and may carry a unit."""

    def __call__(self, text: str) -> str | None:
        found = NUMBER.search(text)
        return Numeric()(found.group(0)) if found else None
