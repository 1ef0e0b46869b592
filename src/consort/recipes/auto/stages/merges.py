"""Merges inside each family: soups, task arithmetic and TIES with a small search of coefficients."""

from __future__ import annotations

from consort.recipes.auto.coefficients import SPECTRAL_FAMILY, explore
from consort.recipes.auto.stage import Pool, Proposal, new_trials
from consort.recipes.auto.teams import best_of
from consort.runs.pool import Family
from consort.runs.trials import BudgetSpent


class Merges:
    """The best merge of each family, where it is better than every member."""

    name = "merging"
    tries = "soups, task arithmetic and TIES inside each family, coefficients searched"
    passes = 1.0

    def needs(self, pool: Pool) -> int:
        return 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        found, notes = [], []
        end = len(pool.trials.candidates) + share
        # the small ones first: what they leave of their share goes to the large ones
        if all(len(family.members) == 1 for family in pool.families):
            notes.append(f"not tried: {self.name}: no two models are of one family")
        to_merge = sorted((f for f in pool.families if len(f.members) > 1), key=lambda family: len(family.members))
        for done, family in enumerate(to_merge):
            spent = len(pool.trials.candidates)
            pool.trials.limit = spent + (end - spent) // (len(to_merge) - done)
            label = family.members[0].label
            best, said = _merged(pool, family, f"{label}'s family: " if len(to_merge) > 1 else "")
            notes += said
            if best is not None:
                pool.best_of_family[label] = best
        for best in pool.best_of_family.values():
            found.append(best)
        return found, notes


def _merged(pool: Pool, family: Family, title: str) -> tuple[Proposal | None, list[str]]:
    """Explore the merges of a family; its best one, if it is better than every member."""
    trials, notes = pool.trials, []
    if family.base is None:
        notes.append("no base is known: task arithmetic and TIES were left out (name it with --base)")
    elif len(family.experts) < SPECTRAL_FAMILY:
        few = f"they are for {SPECTRAL_FAMILY} experts or more"
        notes.append(f"not tried: spectral merges of {family.members[0].label}'s family: {few}")
    before = set(trials.candidates)
    scores = {reference: result.score for reference, result in pool.fit.items()}
    try:
        explore(family, scores, lambda name, expression: trials.trial(title + name, expression))
    except BudgetSpent as spent:
        share = len(trials.candidates) - len(before)
        notes.append(f"not tried: {spent}: more merges of {family.members[0].label}'s family, whose share is {share}")
    best = best_of(candidate for _, candidate in new_trials(pool, before))
    if best is None or (best.fit or 0.0) <= max(pool.fit[m.reference].score for m in family.members):
        return None, notes
    result = trials.result(best.name, best.expression, "fit")
    return pool.proposal(best.name, best.expression, result), notes
