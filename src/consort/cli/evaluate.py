"""`consort eval`: any number of systems on a task, compared."""

from __future__ import annotations

from typing import Annotated

import typer

from consort.cli.options import Debug, Json, RemoteCode, Seed, Task
from consort.cli.output import print_json, print_table


def evaluate(
    systems: Annotated[
        list[str], typer.Argument(metavar="PLAN|MODEL...", help="Plan files, folders, lab:NAME, hf:ORG/NAME.")
    ],
    task: Task,
    split: Annotated[str, typer.Option("--split", help="test | dev")] = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first examples.")] = None,
    seed: Seed = 0,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare systems on a task: score with 95 % interval, paired difference to the best single, tokens, time."""
    from dataclasses import replace

    from consort.core.progress import track
    from consort.data import load_task
    from consort.evaluate import compare, comparison_table
    from consort.evaluate import evaluate as run
    from consort.plan import Reference, build, read_plan
    from consort.plan.references import task_path

    loaded = load_task(task_path(task))
    plans = {system: read_plan(system) for system in systems}
    results = []
    with track("evaluating", total=len(plans)) as advance:
        for system, plan in plans.items():
            model = build(plan, "model", allow_remote_code=allow_remote_code)
            results.append(replace(run(model, loaded, split=split, limit=limit, seed=seed), model=system))
            advance(1)
    singles = [system for system, plan in plans.items() if isinstance(plan.root, Reference)]
    comparison = compare(results, singles=singles, seed=seed)
    if json:
        print_json(comparison.to_json())
        return
    columns, rows = comparison_table(comparison)
    print_table(columns, rows)
