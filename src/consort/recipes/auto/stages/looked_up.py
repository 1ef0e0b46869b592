"""Models that look things up in the index that the run was given (`--docs`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consort.recipes.auto.learners import needs_of
from consort.recipes.auto.stage import Pool, Proposal
from consort.recipes.auto.stages.players import apart, players_of
from consort.runs.trials import BudgetSpent

PIECES = 3
"""Pieces of evidence that are quoted."""
READERS = 6
"""Models at most that are given evidence: who knows most need not be who reads best."""


class LookedUp:
    """`augmented` over the best of each family and endpoints: as teams, and as members of routers to come."""

    name = "retrieval"
    tries = "the best of each family with evidence from the index"
    passes = 4.0

    def needs(self, pool: Pool) -> int:
        if not pool.given.retriever:
            return 0
        return min(READERS, len(pool.families) + len(apart(pool)), max(1, pool.trials.budget // 5))

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        if not pool.given.retriever:
            return [], [f"not tried: {self.name}: no index was given (--docs)"]
        if needs_of(pool.trials.task.metric) == "logprobs":
            return [], [f"not tried: {self.name}: the task has texts, and no questions to look things up for"]
        found: list[Proposal] = []
        notes = []
        for player in players_of(pool)[:READERS]:
            system = with_evidence(player, pool.given.retriever)
            try:
                tried = pool.tried(system)
            except BudgetSpent as spent:
                notes.append(f"not tried: {spent}: {system.name}")
                break
            found += [tried] if tried else []
        pool.members += [replace(one, is_team=False) for one in found]
        return found, notes


def with_evidence(player: Proposal, retriever: Any) -> Proposal:
    """The system with `retriever`, not yet run."""
    expression = {"augmented": {"model": player.expression, "retriever": retriever, "k": PIECES}}
    return Proposal(f"{player.name} with evidence", expression, None, None, is_team=True)
