"""Which models of a zoo do harm: a sharply lower score together with weights that went elsewhere.

Either sign alone misleads. A model tuned for another job scores low and is useful elsewhere; a model trained longer has
a longer delta and may be the best. So a model is called harmful only if both hold, each against its own family:

score   below the model it was tuned from, by more than a tenth of the others' range, or below the family's median by
        more than three robust standard deviations (1.4826 median absolute deviations), or, of a model that went three
        times as far as usual, not above the one it was tuned from (which may have nothing to lose)
delta   its length is above three times the median, or its mean cosine with the other deltas is negative and below the
        family's median by more than three robust standard deviations

The base itself is never judged, and a family of fewer than four other models has no median worth the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.zoo.similarity import Similarities

FEWEST = 4
DEVIATIONS = 3.0
LONGER = 3.0
SHARE = 0.1
NORMAL = 1.4826
"""Makes the median absolute deviation the standard deviation of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A harmful model: its position, and in words what speaks against it."""

    model: int
    reason: str


def find_harmful(zoo: Similarities, scores: Sequence[float], *, base: int | None = None) -> list[Suspicion]:
    """The harmful models of a zoo, by position; `scores` one for each (larger is better), `base` the one tuned from."""
    if len(scores) != len(zoo.names):
        message = f"{counted(len(scores), 'score')} for {counted(len(zoo.names), 'model')}"
        raise BadParameter(message, field="scores", hint="give one for each model")
    found = []
    for family in zoo.families:
        judged = [i for i in family if i != base]
        if len(judged) >= FEWEST:
            below = None if base not in family else scores[base]
            found += [s for i in judged if (s := _suspicion(zoo, scores, judged, i, below)) is not None]
    return found


def _suspicion(
    zoo: Similarities, scores: Sequence[float], judged: Sequence[int], model: int, below: float | None
) -> Suspicion | None:
    others = [i for i in judged if i != model]
    usual = median(zoo.norms[i] for i in others)
    is_long = zoo.norms[model] > LONGER * usual
    strange = _long_delta(zoo, usual, model) if is_long else _turned_delta(zoo, others, model)
    low = _low_score([scores[i] for i in others], scores[model], below, is_long)
    return Suspicion(model, f"scores {scores[model]:.3f}, {low}; {strange}") if low and strange else None


def _low_score(worth: Sequence[float], score: float, below: float | None, is_long: bool) -> str:
    """Against what a score is low, or nothing."""
    if below is not None and (score < below - SHARE * (max(worth) - min(worth)) or (is_long and score <= below)):
        return f"the base it was tuned from scores {below:.3f}"
    if score < median(worth) - DEVIATIONS * _deviation(worth):
        return f"the family's median is {median(worth):.3f}"
    return ""


def _long_delta(zoo: Similarities, usual: float, model: int) -> str:
    return f"its delta is {zoo.norms[model] / usual:.1f} times as long as usual" if usual else "only it was changed"


def _turned_delta(zoo: Similarities, others: Sequence[int], model: int) -> str:
    """What is strange about where a model's delta points, or nothing."""
    agreement = _agreement(zoo, others, model)
    among = [_agreement(zoo, [j for j in others if j != i], i) for i in others]
    if agreement < min(0.0, median(among) - DEVIATIONS * _deviation(among)):
        return f"its delta points away from the others' (mean cosine {agreement:.3f})"
    return ""


def _agreement(zoo: Similarities, others: Sequence[int], model: int) -> float:
    cosines = [zoo.deltas[model][i] or 0.0 for i in others]
    return sum(cosines) / len(cosines)


def _deviation(values: Sequence[float]) -> float:
    middle = median(values)
    return NORMAL * median(abs(value - middle) for value in values)
