"""A small search for how much of each model goes into a merge: soups, one coefficient, dropping, refining.

Every candidate is a plan expression; `trial(name, expression)` gives its score on the fit examples (larger is better)
and raises BudgetSpent when no trial is left. Greedy soup: 2203.05482, algorithm 1. Task arithmetic: 2212.04089.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consort.runs.pool import Family, Member
from consort.runs.trials import Expression

Trial = Callable[[str, Expression], float]

LAMBDAS = (0.2, 0.4, 0.6, 0.8, 1.0)
TIES_LAMBDAS = (1.0, 1.5, 2.0, 2.5)
SPECTRAL = {"tsv_m": (1.0, 1.5), "iso_c": (1.0, 1.5), "wudi": (1.0,)}
"""Merges by singular directions and their λ, tried in families of `SPECTRAL_FAMILY` experts or more."""
SPECTRAL_FAMILY = 3
STEP = 0.2


def explore(family: Family, singles: dict[str, float], trial: Trial) -> None:
    """Try everything that fits `family`; `singles` are its members' scores by reference."""
    ranked = sorted(family.members, key=lambda m: -singles[m.reference])
    if len(ranked) < 2:
        return
    trial("uniform soup", soup(family.members))
    greedy_soup(ranked, singles[ranked[0].reference], trial)
    if family.base is None:
        interpolate(ranked[0], ranked[1], trial)
    elif len(family.experts) > 1:
        task_vectors(family.base, family.experts, trial)


def soup(members: Sequence[Member]) -> Expression:
    """The plain average."""
    return {"linear": {"models": [m.reference for m in members]}}


def greedy_soup(ranked: Sequence[Member], best: float, trial: Trial) -> None:
    """Add models from best to worst, each kept if the average is not worse."""
    kept = [ranked[0]]
    for member in ranked[1:]:
        score = trial(f"greedy soup of {len(kept) + 1}", soup([*kept, member]))
        if score >= best:
            kept, best = [*kept, member], score


def interpolate(first: Member, second: Member, trial: Trial) -> None:
    """On the line between the two best models, where no base is known."""
    for t in (0.25, 0.5, 0.75):
        trial(f"slerp {t}", {"slerp": {"models": [second.reference], "base": first.reference, "t": t}})


def task_vectors(base: Member, experts: Sequence[Member], trial: Trial) -> None:
    """One coefficient for all, drop what harms, the same with TIES, then each coefficient on its own."""

    def weighted(weights: dict[Member, float]) -> float:
        return trial(described(weights, len(experts)), combination(base, weights))

    kept, coefficient, score = tune(list(experts), weighted)
    while len(kept) > 1:
        without = {m: weighted({e: coefficient for e in kept if e is not m}) for m in kept}
        candidate = max(kept, key=lambda m: without[m])
        if without[candidate] < score:
            break
        kept, coefficient, score = tune([e for e in kept if e is not candidate], weighted)
    for lam in TIES_LAMBDAS:
        arguments = {"models": [m.reference for m in kept], "base": base.reference, "lambda": lam}
        trial(f"ties of {len(kept)}, lambda {lam}", {"ties": arguments})
    if len(kept) >= SPECTRAL_FAMILY:
        spectral(base, kept, trial)
    refine(dict.fromkeys(kept, coefficient), score, weighted)


def spectral(base: Member, members: Sequence[Member], trial: Trial) -> None:
    """Merges that need no data and no coefficients of their own."""
    for name, lambdas in SPECTRAL.items():
        for lam in lambdas:
            arguments = {"models": [m.reference for m in members], "base": base.reference, "lambda": lam}
            trial(f"{name} of {len(members)}, lambda {lam}", {name: arguments})


def tune(members: list[Member], weighted: Callable[[dict[Member, float]], float]) -> tuple[list[Member], float, float]:
    """The best single coefficient for all of `members`; of equal scores the smaller."""
    scores = {lam: weighted(dict.fromkeys(members, lam)) for lam in LAMBDAS}
    best = max(LAMBDAS, key=lambda lam: scores[lam])
    return members, best, scores[best]


def refine(weights: dict[Member, float], score: float, weighted: Callable[[dict[Member, float]], float]) -> None:
    """Coordinate ascent, one step up or down for each model, until a round changes nothing."""
    changed = True
    while changed:
        changed = False
        for member in list(weights):
            for step in (STEP, -STEP):
                moved = {**weights, member: round(weights[member] + step, 3)}
                new = weighted(moved)
                if new > score:
                    weights, score, changed = moved, new, True
                    break


def described(weights: dict[Member, float], experts: int) -> str:
    """A short name for the report, e.g. "task arithmetic 0.6, 8 of 9 models"."""
    amounts = sorted(set(weights.values()))
    amount = f"{amounts[0]}" if len(amounts) == 1 else f"{amounts[0]} to {amounts[-1]}"
    return f"task arithmetic {amount}, {len(weights)} of {experts} models"


def combination(base: Member, weights: dict[Member, float]) -> Expression:
    """base + sum of weight times task vector."""
    arguments = {"models": [m.reference for m in weights], "base": base.reference, "weight": list(weights.values())}
    return {"task_arithmetic": arguments}
