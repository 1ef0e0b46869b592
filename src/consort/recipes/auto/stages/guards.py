"""Answers that are watched over, where that can change what they score."""

from __future__ import annotations

from typing import Any

from consort.recipes.auto.stage import Pool, Proposal
from consort.recipes.auto.stages.players import players_of
from consort.runs.trials import BudgetSpent

THRESHOLD = 0.5
WITHHELD = "abstain"
"""The metric by which an answer that is withheld is better than a wrong one."""


class Guards:
    """With evidence: what it does not bear out is mended by it, or asked of another; else what pays is to withhold."""

    name = "guards"
    tries = "answers that evidence does not bear out mended, or asked of another"
    passes = 5.0

    def needs(self, pool: Pool) -> int:
        return 2 if pool.given.retriever and pool.trials.budget >= 20 else int(_may_withhold(pool))

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        found: list[Proposal] = []
        notes = []
        untried = [*_by_evidence(pool), *_withholding(pool)]
        if not untried:
            return [], [f"not tried: {self.name}: {_why_not(pool)}"]
        for number, system in enumerate(untried):
            try:
                tried = pool.tried(system)
            except BudgetSpent as spent:
                notes.append(f"not tried: {spent}: {', '.join(one.name for one in untried[number:])}")
                break
            found += [tried] if tried else []
        return found, notes


def _by_evidence(pool: Pool) -> list[Proposal]:
    """The best reader of evidence, its answers compared with what it was shown."""
    readers = [team for team in pool.teams.values() if "augmented" in team.expression]
    if not readers:
        return []
    best = max(readers, key=lambda team: team.known.score)
    asked = next((one for one in players_of(pool)), None)
    remedies: dict[str, Any] = {"mended": "repair"}
    if asked is not None and asked.expression != best.expression["augmented"]["model"]:
        remedies[f"else {asked.name}"] = {"ask": {"model": asked.expression}}
    return [_guarded(best, {"ngram_precision": {"n": 1}}, then, name) for name, then in remedies.items()]


def _withholding(pool: Pool) -> list[Proposal]:
    """The best that tells how sure it is, silent where it is not."""
    if not _may_withhold(pool):
        return []
    sure = [one for one in players_of(pool) if one.known.vocabulary]
    return [_guarded(sure[0], "least_probability", "abstain", "or silent")] if sure else []


def _guarded(system: Proposal, detector: Any, then: Any, name: str) -> Proposal:
    arguments = {"model": system.expression, "detector": detector, "then": then, "threshold": THRESHOLD}
    return Proposal(f"{system.name}, {name}", {"guarded": arguments}, None, None, is_team=True)


def _may_withhold(pool: Pool) -> bool:
    return bool(pool.trials.task.metric == WITHHELD)


def _why_not(pool: Pool) -> str:
    metric = pool.trials.task.metric
    if pool.given.retriever:
        return "no model with evidence could be run"
    return f"without --docs there is no evidence to judge by, and an answer that is withheld is never right by {metric}"
