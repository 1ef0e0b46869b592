"""Model-GLUE over all inputs that have weights: clusters merged, harm left out, routers across clusters."""

from __future__ import annotations

from dataclasses import replace

from consort.recipes.auto.stage import Pool, Proposal, new_trials
from consort.recipes.model_glue.proposals import merge_zoo, proposal_of

ZOO = 3
"""Models with weights from which on Model-GLUE is tried: of two, everything is tried anyway."""


class Zoo:
    """The clusters' merges and the routers over them."""

    name = "model_glue"
    tries = "Model-GLUE: clusters by similarity, harm left out, merges of each cluster"
    passes = 1.0

    def needs(self, pool: Pool) -> int:
        """A fifth of the budget, where there are models enough."""
        return pool.trials.budget // 5 if _is_zoo(pool) else 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        if not _is_zoo(pool):
            return [], [f"not tried: {self.name}: it is for {ZOO} models with weights or more"]
        trials = pool.trials
        before = set(trials.candidates)
        worth = {reference: result.score for reference, result in pool.fit.items()}
        local = [m for m in pool.inputs if m.checkpoint is not None]
        merged = merge_zoo(trials, local, worth, base=pool.base, force=pool.force)
        for _, candidate in new_trials(pool, before):
            trials.enter(replace(candidate, note=candidate.note and f"model_glue, {candidate.note}" or "model_glue"))
        pool.extras |= merged.to_json()
        merges = [proposal_of(trials, group) for group in merged.groups if group.is_merge]
        notes = [note if note.startswith("not tried: ") else f"model_glue: {note}" for note in merged.notes]
        return [*merges, *merged.routers], notes


def _is_zoo(pool: Pool) -> bool:
    """Whether there are models enough, with weights to compare, for Model-GLUE to be worth a trial."""
    return sum(m.checkpoint is not None for m in pool.inputs) >= ZOO
