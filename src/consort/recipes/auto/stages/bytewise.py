"""Two of the best of families that share no vocabulary, averaged byte by byte, or over the union of their tokens."""

from __future__ import annotations

from consort.recipes.auto.learners import needs_of
from consort.recipes.auto.stage import Pool, Proposal
from consort.recipes.auto.stages.players import players_of
from consort.runs.trials import BudgetSpent

BUDGET = 10
"""Trials of a run from which on one is left for it: bytes are slow."""


class Bytewise:
    """`average` of `as_bytes`, which is exact; `gac` where a tokenizer's texts cannot be read byte by byte."""

    name = "byte ensemble"
    tries = "the best two of different vocabularies, averaged byte by byte"
    passes = 12.0

    def needs(self, pool: Pool) -> int:
        return 2 if len(pool.families) > 1 and pool.trials.budget >= BUDGET else 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        pair = _pair(pool)
        if isinstance(pair, str):
            return [], [f"not tried: {self.name}: {pair}"]
        for team in _teams(*pair):
            try:
                tried = pool.tried(team)
            except BudgetSpent as spent:
                return [], [f"not tried: {spent}: {team.name}"]
            if tried:
                return [tried], []
        return [], []


def _pair(pool: Pool) -> tuple[Proposal, Proposal] | str:
    """Who is averaged, or why nobody is."""
    if pool.trials.budget < BUDGET:
        return f"a budget below {BUDGET} is for what is cheaper"
    if needs_of(pool.trials.task.metric) == "logprobs":
        return "tokens of different vocabularies have no common perplexity"
    ranked = [player for player in players_of(pool) if player.known.vocabulary]
    for first, second in zip(ranked, ranked[1:], strict=False):
        if second.known.vocabulary != first.known.vocabulary:
            return ranked[0], second
    return "all models that show their logits share one vocabulary"


def _teams(first: Proposal, second: Proposal) -> list[Proposal]:
    """The ensembles, not yet run: the second is for where the first cannot be made."""
    read = [{"as_bytes": {"model": one.expression}} for one in (first, second)]
    whole = [one.expression for one in (first, second)]
    names = f"{first.name} + {second.name}"
    return [
        Proposal(f"byte average of {names}", {"average": {"models": read}}, None, None, is_team=True),
        Proposal(f"average over both vocabularies of {names}", {"gac": {"models": whole}}, None, None, is_team=True),
    ]
