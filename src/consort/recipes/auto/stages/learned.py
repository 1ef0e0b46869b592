"""Teams that learn from answers which are known already, so that they take no trial: routers, cascades, votes."""

from __future__ import annotations

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.recipes.auto.learners import learners
from consort.recipes.auto.mixed import by_reading
from consort.recipes.auto.stage import Pool, Proposal
from consort.runs.trials import Candidate


class Learned:
    """A mixture of whole models behind a reader of prompts, where there are several families; then all learners."""

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
        more, why = learners(pool.members, trials.task.split("fit", seed=trials.seed), trials.seed)
        fresh = [team for team in [*found, *more] if team.key not in trials.candidates]
        for team in fresh:
            trials.enter(Candidate(team.name, team.expression, team.score, "cross-fitted"))
        return fresh, [*notes, *why]
