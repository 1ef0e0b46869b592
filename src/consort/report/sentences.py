"""The outcome in words, which follow from the numbers shown: no claim that an interval does not carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from consort.core.counted import counted

SHOWN_AS_ZERO = 0.0005
Verdict = Literal["better", "ahead", "equal", "behind", "worse"]


class Difference(Protocol):
    """A system minus the one it is compared with, and its 95 % interval."""

    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...


def verdict(difference: Difference) -> Verdict:
    """better and worse are beyond doubt (the interval leaves out zero); ahead and behind are within the noise.

    A difference that is shown as zero, with three digits, is equal unless it is beyond doubt.
    """
    low, high = difference.interval
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "equal" if abs(difference.value) < SHOWN_AS_ZERO else "ahead" if difference.value > 0 else "behind"


@dataclass(frozen=True, slots=True)
class Facts:
    """What an outcome's sentence follows from.

    `kept` says that the winner is a combination; `tested` is its difference to `reference` on test, `held_out` that of
    the best candidate on held-out data; `tried` counts combinations, `searched` says that dev was searched as a whole.
    """

    kept: bool
    reference: str = "the best single model"
    tested: Difference | None = None
    held_out: Difference | None = None
    tried: int = 0
    searched: bool = False


ON_TEST: dict[Verdict, str] = {
    "better": "Better on test than {reference}",
    "ahead": "Ahead of {reference} on test, but within the noise",
    "equal": "On test no better and no worse than {reference}",
    "behind": "Behind {reference} on test, but within the noise",
    "worse": "Chosen on {chosen}, but worse on test than {reference}",
}
ON_HELD_OUT: dict[Verdict, str] = {
    "better": "Better than {reference} on held-out data; test was not read",
    "ahead": "Ahead of {reference} on held-out data, but within the noise",
    "equal": "On held-out data no better and no worse than {reference}",
    "behind": "Behind {reference} on held-out data, but within the noise",
    "worse": "Worse than {reference} on held-out data",
}


def headline(facts: Facts) -> str:
    """The outcome in one sentence."""
    if not facts.kept:
        return _single(facts)
    words = {"reference": facts.reference, "chosen": "dev" if facts.searched else "held-out data"}
    if facts.tested is not None:
        return ON_TEST[verdict(facts.tested)].format(**words)
    if facts.held_out is not None:
        return ON_HELD_OUT[verdict(facts.held_out)].format(**words)
    return "Chosen on dev; nothing was measured that could confirm it"


def _single(facts: Facts) -> str:
    if facts.held_out is not None:
        if verdict(facts.held_out) == "equal":
            return "On held-out data the best combination only equalled the best single model, so that stays"
        return "No combination beat the best single model on held-out data, so it stays"
    if facts.tried:
        return f"Of {counted(facts.tried, 'combination')} none was better than the best single model, so it stays"
    return "There was nothing to combine: the best single model stays"


def unfinished(state: str, best: str, score: float | None, split: str) -> str:
    """What there is to say of a run that has not ended."""
    doing = "Still running" if state == "running" else "Stopped before its end"
    if score is None:
        return f"{doing}: nothing has been measured yet"
    return f"{doing}: the best so far is {best}, {score:.3f} on {split}"
