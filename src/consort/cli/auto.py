"""`consort auto`: the main job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from consort.cli.options import Debug, Force, Json, Out, RemoteCode, Seed, Task, TaskCode
from consort.cli.output import note, print_json, print_results, print_table
from consort.core.errors import BadParameter, UnknownName, did_you_mean

if TYPE_CHECKING:
    from consort.runs.results import Outcome

RECIPES = ("auto", "model_glue")
Docs = Annotated[
    str | None, typer.Option("--docs", metavar="INDEX", help="An index (consort index) to look things up in.")
]
Train = Annotated[
    str | None, typer.Option("--train", metavar="FILE", help="JSON lines to train on; none may be in the task.")
]


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
    maximize: Annotated[
        str,
        typer.Option("--maximize", help="quality | quality-per-cost: what the winner is best by."),
    ] = "quality",
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Most that an answer may cost: tokens times parameters.")
    ] = None,
    max_latency: Annotated[
        float | None, typer.Option("--max-latency", help="Most seconds that an answer may take, on this machine.")
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price", metavar="NAME=NUMBER", help="What a token of an endpoint costs, as of so many parameters."
        ),
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", help="Time for all starts of the run; what does not fit is told.")
    ] = None,
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
    from consort.cli.front import front_table, selection_line
    from consort.evaluate import comparison_table

    run = _found(recipe)
    told: dict[str, Any] = {"task": task, "base": base, "budget": budget, "seed": seed}
    told |= _given(recipe, docs, train)
    told |= _wanted(recipe, maximize, max_cost, max_latency, price or [], hours)
    told |= {"allow_remote_code": allow_remote_code, "allow_task_code": allow_task_code}
    if dry_run:
        _foretell(recipe, models, told, json)
        return
    said = {"say": note} if recipe == "auto" and not json else {}
    outcome = run(models, out=out, force=force, **told, **said)
    if json:
        print_results(outcome.folder)
        return
    columns, rows = comparison_table(outcome.comparison)
    print_table(columns, rows)
    if outcome.front:
        print_table(*front_table(outcome.front))
    print(outcome.headline)
    if (chosen := selection_line(outcome.selection)) is not None:
        print(chosen)
    for line in outcome.notes:
        note(f"note: {line}")
    note(f"winner: {outcome.place}   report: {outcome.folder / 'report.html'}")


def _given(recipe: str, docs: str | None, train: str | None) -> dict[str, str | None]:
    """Index and rows, which only `auto` takes."""
    if recipe == "auto":
        return {"docs": docs, "train": train}
    if docs or train:
        hint = "leave it out, or leave --recipe out"
        raise BadParameter(f"{recipe} takes none", field="--docs" if docs else "--train", hint=hint)
    return {}


def _wanted(
    recipe: str,
    maximize: str,
    max_cost: float | None,
    max_latency: float | None,
    price: list[str],
    hours: float | None,
) -> dict[str, Any]:
    """What is asked of the winner and of the run, where that is not the usual."""
    usual: dict[str, Any] = {"maximize": "quality", "max_cost": None, "max_latency": None, "price": {}, "hours": None}
    given = {
        "maximize": maximize,
        "max_cost": max_cost,
        "max_latency": max_latency,
        "price": dict(map(_price, price)),
        "hours": hours,
    }
    found = {name: value for name, value in given.items() if value != usual[name]}
    if found and recipe != "auto":
        name = next(iter(found)).replace("_", "-")
        raise BadParameter("is of `auto` alone", field=f"--{name}", hint=f"leave out --recipe {recipe}, or --{name}")
    return found


def _price(text: str) -> tuple[str, float]:
    """A name and its price, of NAME=NUMBER."""
    name, _, number = text.rpartition("=")
    try:
        return (name, float(number)) if name else _no_price(text)
    except ValueError:
        return _no_price(text)


def _no_price(text: str) -> NoReturn:
    raise BadParameter(f"{text!r} is no price", field="--price", hint="NAME=NUMBER, such as --price gpt=70e9")


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
