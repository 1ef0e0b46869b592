"""A metric: the answer is a number near the target."""

from __future__ import annotations

from typing import Annotated

from consort.core.params import Range
from consort.core.types import Example
from consort.evaluate.metrics.numeric import last_number
from consort.evaluate.registry import metric


@metric(needs=("target",), unit=True)
def near_miss(answer: str, example: Example, *, within: Annotated[float, Range(0, 100)] = 1.0) -> float:
    """1 where the last number of the answer is within so much of a target's, else 0."""
    value = last_number(answer)
    wanted = [last_number(target) for target in example.target]
    return float(value is not None and any(t is not None and abs(value - t) <= within for t in wanted))
