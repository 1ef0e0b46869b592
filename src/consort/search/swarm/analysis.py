"""What a swarm did, in the measures of Model Swarms (2410.11163); definitions are ours where the paper gives none.

A question's level among models: 1 if more than half of them are right, 2 if at most half but more than one, 3 if
exactly one, 4 if none. All functions take plain lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consort.core.errors import BadParameter


def level(right: int, models: int) -> int:
    """The level of a question that `right` of `models` answer."""
    if not 0 <= right <= models or not models:
        raise BadParameter(f"{right} of {models} models cannot be right", field="right", hint="from 0 to all of them")
    if right == 0:
        return 4
    if right == 1 and models > 1:
        return 3
    return 1 if 2 * right > models else 2


def correctness_surge(initial: Sequence[int], final: Sequence[int], models: int, finals: int | None = None) -> float:
    """C-surge: the share of questions whose level improves from the initial models to the final particles.

    `initial` and `final` count the models that are right, for each question; `finals` is the number of final particles.
    """
    pairs = list(zip(initial, final, strict=True))
    return sum(level(after, finals or models) < level(before, models) for before, after in pairs) / len(pairs)


def correctness_emergence(initial: Sequence[int], right: Sequence[bool]) -> float | None:
    """C-emerge: of the questions that no initial model answers, the share that is answered now; None without any."""
    emerged = [now for before, now in zip(initial, right, strict=True) if before == 0]
    return sum(emerged) / len(emerged) if emerged else None


@dataclass(frozen=True, slots=True)
class WeakToStrong:
    """Where the particles that ended best had started, over runs: first, or in the lower half."""

    first: float
    lower_half: float


def weak_to_strong(starts: Sequence[tuple[int, int]]) -> WeakToStrong:
    """From (initial rank, counted from 1, and number of particles) of the particle that ended as the best of a run."""
    if not starts:
        raise BadParameter("there are no runs", field="starts", hint="give one pair for each run")
    first = sum(rank == 1 for rank, _ in starts) / len(starts)
    return WeakToStrong(first, sum(2 * rank > count for rank, count in starts) / len(starts))


def rank_of(scores: Sequence[float], who: int) -> int:
    """The rank of one particle among initial scores, from 1; of equals the earlier is ahead."""
    return 1 + sum(s > scores[who] or (s == scores[who] and i < who) for i, s in enumerate(scores))


def copies(distinct: int, total: int = 10) -> list[int]:
    """Which expert each start is in the diversity study: `distinct` experts, total / distinct copies of each."""
    if distinct < 1 or total % distinct:
        hint = f"a divisor of {total}"
        raise BadParameter(f"{distinct} experts do not make {total} starts", field="distinct", hint=hint)
    return [i for i in range(distinct) for _ in range(total // distinct)]


def weaker_half(scores: Sequence[float]) -> list[int]:
    """The experts of the weak-only study: the lower half by score, in their own order; of equals the later ones."""
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return sorted(ranked[-(len(scores) // 2) :]) if len(scores) > 1 else [0]


def right_counts(marks: Sequence[str]) -> list[int]:
    """For each question, how many of the models are right; `marks` has a letter for each question, "1" for right."""
    return [sum(letter == "1" for letter in column) for column in zip(*marks, strict=True)]


def in_plane(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Points in the plane of their largest spread (principal components, signs fixed), for a picture of the paths."""
    import torch

    x = torch.tensor([list(p) for p in points], dtype=torch.float64)
    centred = x - x.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    flat = torch.zeros(len(x), 2, dtype=torch.float64)
    flat[:, : len(axes)] = centred @ axes.T
    return [(float(a), float(b)) for a, b in flat]


def summary(initial: Mapping[str, str], final: Sequence[str], best: str) -> dict[str, float | None]:
    """C-surge and C-emerge from marks: of the initial experts, of the final personal bests, and of the winner."""
    before, after = right_counts(list(initial.values())), right_counts(final)
    emerged = [count > 0 for count in after]
    return {
        "c_surge": correctness_surge(before, after, len(initial), len(final)),
        "c_emerge": correctness_emergence(before, [letter == "1" for letter in best]),
        "c_emerge_any": correctness_emergence(before, emerged),
        "unanswered": before.count(0) / len(before),
    }
