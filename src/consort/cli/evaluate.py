"""`consort eval`: any number of systems on a task, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consort.cli.options import Debug, Json, RemoteCode, Seed, Task, TaskCode
from consort.cli.output import print_json, print_table, warnings_so_far
from consort.core.errors import BadParameter, ConsortError, together

if TYPE_CHECKING:
    from consort.evaluate import Comparison


def evaluate(
    systems: Annotated[
        list[str], typer.Argument(metavar="PLAN|MODEL...", help="Plan files, folders, lab:NAME, hf:ORG/NAME.")
    ],
    task: Task,
    split: Annotated[str, typer.Option("--split", help="test | dev")] = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first examples.")] = None,
    seed: Seed = 0,
    engine: Annotated[str, typer.Option("--engine", help="local | processes | ray | shared:FOLDER.")] = "local",
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many, of processes and ray.")] = 2,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Examples that a model is given at once.")] = 64,
    allow_remote_code: RemoteCode = False,
    allow_task_code: TaskCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare systems on a task: score with 95 % interval, paired difference to the best single, tokens, time."""
    from dataclasses import replace

    from consort.evaluate import compare
    from consort.plan import Reference, read_plan
    from consort.plan.places import check_places
    from consort.plan.references import open_task
    from consort.runs.evaluation import evaluate_with
    from consort.search.engine.workers import check_engine

    check_engine(engine, workers)
    _check_names(systems)
    loaded = open_task(task, allow_code=allow_task_code)
    plans = {system: read_plan(system) for system in systems}
    check_places(plans.values())
    found = evaluate_with(
        engine,
        plans,
        loaded,
        count=workers,
        split=split,
        limit=limit,
        seed=seed,
        batch=batch,
        allow_remote_code=allow_remote_code,
    )
    results = [replace(result, model=system) for system, result in zip(plans, found, strict=True)]
    singles = [system for system, plan in plans.items() if isinstance(plan.root, Reference)]
    _print(compare(results, singles=singles, seed=seed), json)


def _print(comparison: Comparison, json: bool) -> None:
    from consort.evaluate import comparison_table

    if json:
        print_json(comparison.to_json() | {"warnings": warnings_so_far()})
        return
    columns, rows = comparison_table(comparison)
    print_table(columns, rows)


def _check_names(systems: list[str]) -> None:
    """Every system has a name, and no other one's."""
    twice = [system for system in dict.fromkeys(systems) if systems.count(system) > 1]
    faults: list[ConsortError] = [BadParameter("is given twice", field=s, hint="name each system once") for s in twice]
    if "" in systems:
        hint = "a plan file, a model folder, lab:NAME or hf:ORG/NAME"
        faults.insert(0, BadParameter("a name is empty", field="PLAN|MODEL", hint=hint))
    if faults:
        raise together(faults)
