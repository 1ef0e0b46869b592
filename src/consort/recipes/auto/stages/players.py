"""Who plays in teams across families: the best system of each family, and what belongs to none."""

from __future__ import annotations

from consort.recipes.auto.learners import needs_of
from consort.recipes.auto.stage import Pool, Proposal
from consort.runs.pool import Member


def players_of(pool: Pool) -> list[Proposal]:
    """The best of each family, merges among them, and all endpoints; from best to worst, of equals the cheaper first.

    Cached answers are left out, for they answer what they were asked and nothing else.
    """
    found = [*pool.best_of_family.values(), *(pool.single(member) for member in apart(pool))]
    return sorted(found, key=lambda one: (-one.known.score, one.price if one.price is not None else float("inf")))


def apart(pool: Pool) -> list[Member]:
    """The endpoints, which are of no family."""
    return [m for m in pool.inputs if m.checkpoint is None and not m.reference.startswith("table:")]


def answers(pool: Pool) -> bool:
    """Whether models are asked for answers here, not only read."""
    return needs_of(pool.trials.task.metric) in ("generate", "completion")
