"""Models that answer together, by trial: a sparse mixture of one family's experts, token ensembles of the best."""

from __future__ import annotations

from itertools import combinations
from math import inf

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.recipes.auto.mixed import sparse
from consort.recipes.auto.stage import Pool, Proposal
from consort.runs.trials import BudgetSpent

AVERAGED = 3
TRIALS = 5
"""Trials that merges leave: a sparse mixture, and token ensembles of all pairs and the three of the best members."""


class RunTimeTeams:
    """Mixtures and token ensembles, cheapest answers first."""

    name = "teams"
    tries = "a sparse mixture or token ensembles of the best"
    passes = float(AVERAGED)

    def needs(self, pool: Pool) -> int:
        return min(TRIALS, pool.trials.budget // 5) if len(pool.inputs) > 1 else 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        trials, found, notes = pool.trials, [], []
        untried = _averages(pool.members)
        try:
            if len(pool.families) == 1:
                first = next(iter(pool.best_of_family.values()))
                mixture = sparse(trials, pool.families[0], pool.fit, first.expression)
                untried = [mixture, *untried] if mixture else untried
        except EnvironmentFailure:
            raise
        except ConsortError as fault:
            notes.append(f"no mixture was tried: {fault}")
        if not untried:
            notes.append("not tried: token ensembles: no two of the best share a vocabulary")
        untried.sort(key=lambda team: inf if team.price is None else team.price)
        for number, team in enumerate(untried):
            try:
                tried = pool.tried(team)
            except BudgetSpent as spent:
                notes.append(f"not tried: {spent}: {', '.join(one.name for one in untried[number:])}")
                break
            found += [tried] if tried else []
        return found, notes


def _averages(members: list[Proposal]) -> list[Proposal]:
    """Token ensembles of two and of three of the best members that share a vocabulary; not yet run."""
    ranked = sorted(members, key=lambda p: -p.known.score)[:AVERAGED]
    teams = [team for count in range(2, len(ranked) + 1) for team in combinations(ranked, count)]
    return [_average(team) for team in teams if len({p.known.vocabulary for p in team} - {None}) == 1]


def _average(team: tuple[Proposal, ...]) -> Proposal:
    prices = [p.price for p in team if p.price is not None]
    name = f"average of {' + '.join(p.name for p in team)}"
    expression = {"average": {"models": [p.expression for p in team]}}
    return Proposal(name, expression, None, sum(prices) if len(prices) == len(team) else None, is_team=True)
