"""Teams that learn from answers which are known already, so that they take no trial: routers, cascades, votes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.recipes.auto.learners import complementary, learners
from consort.recipes.auto.mixed import by_reading
from consort.recipes.auto.stage import Pool, Proposal
from consort.recipes.auto.stages.players import answers
from consort.runs.trials import Candidate

DEARER = 1.5
"""How many times the price of the cheapest member the dearest one has, from which on there is something to save."""
SAVED, WORTH = 0.5, 0.05
"""What a thrifty cascade may cost, of the best member's price; and what that price is worth to a thrifty router."""


class Learned:
    """A mixture of whole models behind a reader of prompts, where there are several families; then all learners.

    Where members differ in price there are thrifty ones beside them: a cascade held to a part of the best member's
    price, and a router that weighs quality against price.
    """

    name = "learning"
    tries = "routers, cascades and votes that learn from the answers that are known"
    passes = 0.0

    def needs(self, pool: Pool) -> int:
        return 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        trials, notes = pool.trials, []
        found: list[Proposal] = []
        if len(pool.families) > 1:
            smallest = min((m for g in pool.families for m in g.members), key=lambda m: m.parameters or 0)
            try:
                mixture = by_reading(trials, list(pool.best_of_family.values()), smallest)
                found += [mixture] if mixture else []
            except EnvironmentFailure:
                raise
            except ConsortError as fault:
                notes.append(f"no mixture was tried: {fault}")
        members = complementary(pool.members)
        if answers(pool) and len(members) > 1:
            members = [replace(p, result=trials.answered(p.name, p.expression, "fit")) for p in members]
        more, why = learners(members, trials.task.split("fit", seed=trials.seed), trials.seed)
        saving, told = _thrifty(pool, members)
        fresh = [team for team in [*found, *more, *saving] if team.key not in trials.candidates]
        for team in fresh:
            trials.enter(Candidate(team.name, team.expression, team.score, "cross-fitted"))
        return fresh, [*notes, *why, *told]


def _thrifty(pool: Pool, members: list[Proposal]) -> tuple[list[Proposal], list[str]]:
    """Strategies that look at prices, or why there are none."""
    priced = [p for p in members if p.price is not None]
    prices = [p.price for p in priced if p.price is not None]
    if len(priced) < 2 or max(prices) < DEARER * min(prices):
        return [], ["not tried: thrifty routers and cascades: of no two members is it known that one costs less"]
    dear = max(priced, key=lambda p: p.known.score).price or max(prices)
    arguments: dict[str, dict[str, Any]] = {"frugal_gpt": {"budget": SAVED * dear}, "ridge": {"lambda_": WORTH / dear}}
    examples = pool.trials.task.split("fit", seed=pool.trials.seed)
    return learners(priced, examples, pool.trials.seed, tuple(arguments), called="thrifty", arguments=arguments)
