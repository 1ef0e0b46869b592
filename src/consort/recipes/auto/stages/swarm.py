"""Model Swarms (2410.11163) over a family's experts, with the trials that are left."""

from __future__ import annotations

from collections.abc import Sequence

from consort.recipes.auto.stage import Pool, Proposal, new_trials
from consort.recipes.auto.teams import best_of
from consort.runs.pool import Family
from consort.runs.trials import BudgetSpent, Expression

EXPERTS = 3
"""Of a family, from which on a swarm is tried: of two, merges look at the line between them."""
LEAST = 12
"""Trials that a swarm needs to move at all."""
DIGITS = 4


class Swarm:
    """Coefficients of the experts moved by `pso`; with a base it also starts from scaled sums of task vectors."""

    name = "swarm"
    tries = "coefficients of each family's experts moved by a particle swarm, with what is left of the budget"
    passes = 1.0

    def needs(self, pool: Pool) -> int:
        return 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        families = [family for family in pool.families if len(family.experts) >= EXPERTS]
        if not families:
            return [], [f"not tried: {self.name}: no family has {EXPERTS} experts"]
        each = share // len(families)
        if each < LEAST:
            return [], [
                f"not tried: {self.name}: {share} trials are left, and it needs {LEAST * len(families)} to move"
            ]
        found: list[Proposal] = []
        notes: list[str] = []
        for family in families:
            best, said = _moved(pool, family, each)
            found += [best] if best else []
            notes += said
        return found, notes


def _moved(pool: Pool, family: Family, share: int) -> tuple[Proposal | None, list[str]]:
    """The best place that the swarm of a family has found, where it is better than the family's best so far."""
    import torch

    from consort.search.engine.domain import coefficient_domain
    from consort.search.optimizers import optimizers

    trials, before, notes = pool.trials, set(pool.trials.candidates), []
    label = family.members[0].label
    names = [member.reference for member in family.experts]
    base = family.base.reference if family.base else None
    domain = coefficient_domain(names, base=base, extra=base is not None)
    pso = optimizers.get("pso")(domain, seed=trials.seed, particles=max(len(domain.starts), share // 4))
    limit, trials.limit = trials.limit, len(trials.candidates) + share
    try:
        while len(points := pso.ask()):
            scores = [_score(pool, domain.names, point, family) for point in points.tolist()]
            pso.tell(torch.tensor(scores, dtype=torch.float64))
    except BudgetSpent as spent:
        notes.append(f"not tried: {spent}: more places of the swarm in {label}'s family, whose share is {share}")
    finally:
        trials.limit = limit
    best = best_of(candidate for _, candidate in new_trials(pool, before))
    if best is None or (best.fit or 0.0) <= pool.best_of_family[label].known.score:
        return None, notes
    result = trials.result(best.name, best.expression, "fit")
    pool.best_of_family[label] = pool.proposal(best.name, best.expression, result)
    return pool.best_of_family[label], notes


def _score(pool: Pool, names: Sequence[str], point: Sequence[float], family: Family) -> float:
    """Of a place: that of the expert itself where it is one of them, else by trial."""
    weights = {name: round(amount, DIGITS) for name, amount in zip(names, point, strict=True) if round(amount, DIGITS)}
    if list(weights.values()) == [1.0]:
        return float(pool.fit[next(iter(weights))].score)
    number = len(pool.trials.candidates) + 1
    return pool.trials.trial(f"swarm of {len(family.experts)}, place {number}", combined(weights))


def combined(weights: dict[str, float]) -> Expression:
    """The sum of weight times model."""
    return {"linear": {"models": list(weights), "weight": list(weights.values()), "normalize": False}}
