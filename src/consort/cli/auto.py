"""`consort auto`: the main job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from consort.cli.options import Debug, Force, Json, Out, RemoteCode, Seed, Task, TaskCode
from consort.cli.output import note, print_results, print_table
from consort.core.errors import UnknownName, did_you_mean

if TYPE_CHECKING:
    from consort.runs.results import Outcome

RECIPES = ("auto", "model_glue")


def auto(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders, adapters, lab:NAME, hf:ORG/NAME.")],
    task: Task,
    out: Out,
    base: Annotated[str | None, typer.Option("--base", help="The input that the others were tuned from.")] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="auto | model_glue: clusters by similarity, harm left out, then a router.")
    ] = "auto",
    budget: Annotated[int, typer.Option("--budget", min=1, help="Candidates to run at most.")] = 100,
    seed: Seed = 0,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    allow_task_code: TaskCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find the best combination of models for a task; never worse than the best single on held-out examples."""
    from consort.evaluate import comparison_table

    outcome = _found(recipe)(
        models,
        task=task,
        out=out,
        base=base,
        budget=budget,
        seed=seed,
        force=force,
        allow_remote_code=allow_remote_code,
        allow_task_code=allow_task_code,
    )
    if json:
        print_results(outcome.folder)
        return
    columns, rows = comparison_table(outcome.comparison)
    print_table(columns, rows)
    print(outcome.headline)
    for line in outcome.notes:
        note(f"note: {line}")
    note(f"winner: {outcome.place}   report: {outcome.folder / 'report.html'}")


def _found(recipe: str) -> Callable[..., Outcome]:
    if recipe not in RECIPES:
        raise UnknownName(f"no recipe named {recipe!r}", field="--recipe", hint=did_you_mean(recipe, RECIPES))
    if recipe == "auto":
        from consort.recipes.auto.run import auto as search

        return search
    from consort.recipes.model_glue.run import model_glue

    return model_glue
