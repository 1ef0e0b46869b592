"""Shorter prompts: where they are long, the best model reads them through compressors, trivial ones too."""

from __future__ import annotations

from statistics import mean
from typing import Any

from consort.cooperate.compress.roles import parts_of
from consort.evaluate.measure import prompt_of
from consort.recipes.auto.stage import Pool, Proposal
from consort.runs.trials import BudgetSpent

LONG = 600
"""Characters of context, a mean over the fit examples, from which prompts count as long."""
RATE = 0.5
COMPRESSORS: tuple[Any, ...] = ({"bm25": {}}, {"first": {}}, {"last": {}})


class Shorter:
    """The best model behind compressors that need no other model, at half of the context's tokens."""

    name = "shorter prompts"
    tries = "the best model behind compressors, where prompts are long"
    passes = 1.0

    def needs(self, pool: Pool) -> int:
        return len(COMPRESSORS) if pool.trials.budget >= 10 * len(COMPRESSORS) and self._are_long(pool) else 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        if not self._are_long(pool):
            return [], [f"not tried: {self.name}: contexts have fewer than {LONG} characters on average"]
        best = max(pool.members, key=lambda member: member.known.score)
        found, notes = [], []
        for compressor in COMPRESSORS:
            (name,) = compressor
            expression = {"compressed": {"model": best.expression, "compressor": compressor, "rate": RATE}}
            team = Proposal(f"{best.name} behind {name}", expression, None, best.price, is_team=True)
            try:
                tried = pool.tried(team)
            except BudgetSpent as spent:
                notes.append(f"not tried: {spent}: {team.name}")
                break
            found += [tried] if tried else []
        return found, notes

    @staticmethod
    def _are_long(pool: Pool) -> bool:
        examples = pool.trials.task.split("fit", seed=pool.trials.seed)
        if any(example.text is not None for example in examples):
            return False
        sizes = [
            sum(len(part.text) for part in parts_of(prompt_of(example)).parts if part.role == "context")
            for example in examples
        ]
        return bool(sizes) and mean(sizes) >= LONG
