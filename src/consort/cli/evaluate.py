"""`consort eval`: any number of systems on a task, compared."""

from __future__ import annotations

from typing import Annotated

import typer

from consort.cli.options import Debug, Json, RemoteCode, Seed, Task, TaskCode
from consort.cli.output import print_json, print_table, warnings_so_far
from consort.core.errors import BadParameter, ConsortError, together


def evaluate(
    systems: Annotated[
        list[str], typer.Argument(metavar="PLAN|MODEL...", help="Plan files, folders, lab:NAME, hf:ORG/NAME.")
    ],
    task: Task,
    split: Annotated[str, typer.Option("--split", help="test | dev")] = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first examples.")] = None,
    seed: Seed = 0,
    allow_remote_code: RemoteCode = False,
    allow_task_code: TaskCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare systems on a task: score with 95 % interval, paired difference to the best single, tokens, time."""
    from dataclasses import replace

    from consort.core.progress import track
    from consort.evaluate import compare, comparison_table
    from consort.evaluate import evaluate as run
    from consort.plan import Reference, build, read_plan
    from consort.plan.places import check_places
    from consort.plan.references import open_task

    _check_names(systems)
    loaded = open_task(task, allow_code=allow_task_code)
    plans = {system: read_plan(system) for system in systems}
    check_places(plans.values())
    results = []
    with track("evaluating", total=len(plans)) as advance:
        for system, plan in plans.items():
            model = build(plan, "model", allow_remote_code=allow_remote_code)
            results.append(replace(run(model, loaded, split=split, limit=limit, seed=seed), model=system))
            advance(1)
    singles = [system for system, plan in plans.items() if isinstance(plan.root, Reference)]
    comparison = compare(results, singles=singles, seed=seed)
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
