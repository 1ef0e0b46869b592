"""What a run of `auto` begins with: its stages, and the task and models opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consort.core.errors import BadParameter
from consort.data import Task
from consort.plan.build import Builder
from consort.plan.references import open_task
from consort.recipes.auto.stage import Stage
from consort.recipes.auto.stages.bytewise import Bytewise
from consort.recipes.auto.stages.cascades import Cascades
from consort.recipes.auto.stages.faster import Faster
from consort.recipes.auto.stages.fused import Fused
from consort.recipes.auto.stages.guards import Guards
from consort.recipes.auto.stages.learned import Learned
from consort.recipes.auto.stages.looked_up import LookedUp
from consort.recipes.auto.stages.merges import Merges
from consort.recipes.auto.stages.shorter import Shorter
from consort.recipes.auto.stages.swarm import Swarm
from consort.recipes.auto.stages.together import RunTimeTeams
from consort.recipes.auto.stages.trained import Trained
from consort.recipes.auto.stages.zoo import Zoo
from consort.runs.pool import Member, open_members

STAGES: tuple[Stage, ...] = (
    Merges(),
    Trained(),
    Fused(),
    Zoo(),
    RunTimeTeams(),
    Bytewise(),
    Shorter(),
    LookedUp(),
    Guards(),
    Cascades(),
    Learned(),
    Swarm(),
    Faster(),
)
"""What is tried, in this order: one answer for the price of one first, what is left of the budget last."""


def open_inputs(
    models: Sequence[str],
    task: str | Path | Task,
    base: str | None,
    budget: int,
    seed: int,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
) -> tuple[Task, list[Member], Builder]:
    """The task, the models and what builds their combinations. Raises ConsortError for what cannot be used."""
    if not models:
        raise BadParameter("no models", field="MODEL", hint="give two or more folders, lab:NAME or hf:ORG/NAME")
    check_budget(budget)
    loaded = task if isinstance(task, Task) else open_task(task, allow_code=allow_task_code)
    loaded.fit_and_held_out(seed)
    loaded.split("test")
    builder = Builder(seed, allow_remote_code)
    return loaded, open_members(models, builder, base), builder


def check_budget(budget: int) -> None:
    """Raise BadParameter for a number of candidates below one."""
    if budget < 1:
        raise BadParameter(f"{budget} candidates cannot be tried", field="budget", hint="give 1 or more")
