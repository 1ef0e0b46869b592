"""Cascades by the models' own certainty: the cheap one answers, and where it is unsure a better one does."""

from __future__ import annotations

from consort.recipes.auto.stage import Pool, Proposal
from consort.recipes.auto.stages.players import answers, apart, players_of
from consort.runs.trials import BudgetSpent

CHAIN = 3
"""Models of a chain at most."""
THRESHOLDS = (0.9, 0.99)
CONFIDENCE = "min_probability"
BUDGET = 20
"""Trials of a run from which on some are left for cascades."""


class Cascades:
    """`cascade` over the best of each family and endpoints, the cheapest first; two thresholds."""

    name = "cascades"
    tries = "the cheap model first, a better one where it is unsure"
    passes = float(CHAIN)

    def needs(self, pool: Pool) -> int:
        several = len(pool.families) + len(apart(pool)) > 1
        return len(THRESHOLDS) if several and answers(pool) and pool.trials.budget >= BUDGET else 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        chain = _chain(pool)
        if isinstance(chain, str):
            return [], [f"not tried: {self.name}: {chain}"]
        found: list[Proposal] = []
        names = " > ".join(one.name for one in chain)
        for threshold in THRESHOLDS:
            arguments = {"models": [one.expression for one in chain], "threshold": threshold, "confidence": CONFIDENCE}
            system = Proposal(f"cascade {names} at {threshold}", {"cascade": arguments}, None, None, is_team=True)
            try:
                tried = pool.tried(system)
            except BudgetSpent as spent:
                return found, [f"not tried: {spent}: {system.name}"]
            found += [tried] if tried else []
        return found, []


def _chain(pool: Pool) -> list[Proposal] | str:
    """The best players, the cheapest first and of equals the better; who does not tell how sure it is stands last."""
    if pool.trials.budget < BUDGET:
        return f"a budget below {BUDGET} is for what is cheaper"
    if not answers(pool):
        return "models are read here, not asked"
    best = players_of(pool)[:CHAIN]
    if len(best) < 2:
        return "all models are of one family and one price, and a merge of them answers for that price"
    telling = [one for one in best if one.known.vocabulary]
    silent = [one for one in best if not one.known.vocabulary][:1]
    chain = [*sorted(telling, key=lambda one: (one.price or 0.0, -one.known.score)), *silent]
    return chain if len(chain) > 1 else "no model tells how sure it is"
