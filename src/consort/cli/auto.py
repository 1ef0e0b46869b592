"""`consort auto`: the main job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.options import Debug, Force, Json, Out, RemoteCode, Seed, Task, TaskCode
from consort.cli.output import note, print_json, print_results
from consort.cli.wanted import Docs, HoursOf, MaxCost, MaximizeOf, MaxLatency, Prices, Train, given_beside, wanted
from consort.core.errors import BadParameter, UnknownName, did_you_mean

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
    docs: Docs = None,
    train: Train = None,
    maximize: MaximizeOf = "quality",
    max_cost: MaxCost = None,
    max_latency: MaxLatency = None,
    price: Prices = None,
    hours: HoursOf = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be tried, with time and memory; run and write nothing.")
    ] = False,
    seed: Seed = 0,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    allow_task_code: TaskCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find the best combination of models for a task; never worse than the best single on held-out examples."""
    from consort.cli.front import show, told_briefly

    run = _found(recipe)
    told: dict[str, Any] = {"task": task, "base": base, "budget": budget, "seed": seed}
    told |= given_beside(recipe, docs, train)
    told |= wanted(recipe, maximize, max_cost, max_latency, price or [], hours)
    told |= {"allow_remote_code": allow_remote_code, "allow_task_code": allow_task_code}
    if dry_run:
        _foretell(recipe, models, told, json)
        return
    said = {"say": note} if recipe == "auto" and not json else {}
    outcome = run(models, out=out, force=force, **told, **said)
    if json:
        print_results(outcome.folder)
        return
    show(outcome)
    for line in told_briefly(outcome.notes):
        note(f"note: {line}")
    note(f"winner: {outcome.place}   report: {outcome.folder / 'report.html'}")


def _foretell(recipe: str, models: list[str], told: dict[str, Any], json: bool) -> None:
    """What a run would try, printed."""
    if recipe != "auto":
        raise BadParameter("cannot be estimated", field=f"--recipe {recipe}", hint="leave out --recipe or --dry-run")
    from consort.recipes.auto.outlook import outlook

    found = outlook(models, **told)
    if json:
        print_json(found.to_json())
        return
    for line in found.lines:
        print(line)


def _found(recipe: str) -> Callable[..., Outcome]:
    if recipe not in RECIPES:
        raise UnknownName(f"no recipe named {recipe!r}", field="--recipe", hint=did_you_mean(recipe, RECIPES))
    if recipe == "auto":
        from consort.recipes.auto.run import auto as search

        return search
    from consort.recipes.model_glue.run import model_glue

    return model_glue
