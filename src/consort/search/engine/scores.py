"""Scores by what they depend on: coefficients rounded to 1e-9, the basis, and the objective with its decoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from consort.core.journal import key_of

DIGITS = 9


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of a point's score: it lies in [low, high]; `score` is the score itself once they are equal.

    Before that it is the estimate from what was seen. `marks` has a letter for each example: "." not asked, "1" in the
    upper half of what is possible, else "0". `fault` says why there is no model at the point; its score is -inf.
    """

    score: float
    low: float
    high: float
    marks: str
    fault: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all examples were seen, or it failed."""
        return bool(self.fault) or "." not in self.marks

    @property
    def seen(self) -> int:
        """How many examples were asked."""
        return len(self.marks) - self.marks.count(".")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; numbers that are not finite become null."""
        return {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        """The outcome that `to_json` wrote; a null is the end of the line that it stood for."""
        score, low, high = value["score"], value["low"], value["high"]
        missing = float("-inf")
        return cls(
            missing if score is None else float(score),
            missing if low is None else float(low),
            -missing if high is None and not value["fault"] else missing if high is None else float(high),
            str(value["marks"]),
            str(value["fault"]),
        )


def rounded(point: Sequence[float]) -> list[float]:
    """A point as it is compared: to 1e-9, without a negative zero."""
    return [round(float(x), DIGITS) + 0.0 for x in point]


class Scores:
    """Outcomes of one basis and objective by point. Points that agree to 1e-9 are one.

    `identity` says in plain values what a point stands for, so that another search can tell that it means the same
    model; else it is the rounded point and the basis.
    """

    def __init__(self, basis: str, objective: str, identity: Callable[[Sequence[float]], Any] | None = None) -> None:
        self.basis, self.objective, self.identity = basis, objective, identity
        self._known: dict[str, Outcome] = {}

    def key(self, point: Sequence[float]) -> str:
        """By which a point's score is kept."""
        own = rounded(point)
        return key_of([self.identity(own) if self.identity else [own, self.basis], self.objective])

    def get(self, key: str, limits: Sequence[float] | None) -> Outcome | None:
        """What is known, if it is the score or, between `limits`, as good as the score."""
        found = self._known.get(key)
        if found is None or found.is_complete:
            return found
        is_enough = limits is not None and limits[0] <= found.low and found.high <= limits[1]
        return found if is_enough else None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep what came of a point."""
        self._known[key] = outcome
