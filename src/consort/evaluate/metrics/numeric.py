"""Numeric: the last number of the answer is the target's."""

from __future__ import annotations

import re

from consort.core.errors import BadData
from consort.core.types import Example
from consort.evaluate.registry import metric

NUMBER = re.compile(
    r"(?<![\w.])([-+−]?)[$€£]?((?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)", re.ASCII
)


def last_number(text: str) -> float | None:
    """The last number of a text: "about $1,234.50." is 1234.5; None where there is none.

    A currency sign and a following % are passed over, commas between groups of three digits belong to the number, and
    a minus is a sign only where no digit, letter or point stands before it ("5-3" ends in 3).
    """
    found = NUMBER.findall(text)
    if not found:
        return None
    sign, digits = found[-1]
    value = float(digits.replace(",", ""))
    return -value if sign in ("-", "−") else value


@metric(needs="generate", unit=True)
def numeric(answer: str, example: Example, *, tolerance: float = 1e-6) -> float:
    """1 if |last number of the answer - t| <= tolerance * max(1, |t|) for a target's last number t, else 0."""
    targets = [last_number(target) for target in example.target]
    if None in targets:
        raise BadData("no number in it", field=f"line {example.line}: target", hint='write the number, e.g. "42"')
    value = last_number(answer)
    return float(
        value is not None and any(abs(value - t) <= tolerance * max(1.0, abs(t)) for t in targets if t is not None)
    )
