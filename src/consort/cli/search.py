"""`consort search`: run the search that a plan names."""

from __future__ import annotations

from typing import Annotated

import typer

from consort.cli.options import Debug, Force, Json, Out, RemoteCode, TaskCode
from consort.cli.output import note, print_results, print_table


def search(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan file with `search:`, or '-'.")],
    task: Annotated[list[str], typer.Option("--task", help="A task; given several times, they are searched together.")],
    out: Out,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="Evaluations at most.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="In place of the plan's seed.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="local | processes | ray | shared:FOLDER.")] = "local",
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many, of processes and ray.")] = 2,
    combine: Annotated[str, typer.Option("--combine", help="mean | harmonic: of tasks, or a task's groups.")] = "mean",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first dev examples.")] = None,
    racing: Annotated[
        bool, typer.Option("--racing/--no-racing", help="Stop evaluations early where that changes nothing.")
    ] = True,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    allow_task_code: TaskCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Search how models combine best for a task: a swarm, an evolution, a soup; the best is saved with a report."""
    from consort.evaluate import comparison_table
    from consort.runs.search.run import search as run

    found = run(
        plan,
        task=task,
        out=out,
        budget=budget,
        seed=seed,
        engine=engine,
        workers=workers,
        combine=combine,
        limit=limit,
        racing=racing,
        force=force,
        allow_remote_code=allow_remote_code,
        allow_task_code=allow_task_code,
    )
    if json:
        print_results(found.folder)
        return
    if found.comparison is not None:
        columns, rows = comparison_table(found.comparison)
        print_table(columns, rows)
    print(found.headline)
    note(f"plan: {found.folder / 'plan.yml'}   results: {found.folder / 'results.json'}")
