"""What `consort auto` is asked for beside models and task: the aim of the winner, limits, time, an index, rows."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import typer

from consort.core.errors import BadParameter

Docs = Annotated[
    str | None, typer.Option("--docs", metavar="INDEX", help="An index (consort index) to look things up in.")
]
Train = Annotated[
    str | None, typer.Option("--train", metavar="FILE", help="JSON lines to train on; none may be in the task.")
]
MaximizeOf = Annotated[str, typer.Option("--maximize", help="quality | quality-per-cost: what the winner is best by.")]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", help="Most that an answer may cost: tokens times parameters.")
]
MaxLatency = Annotated[
    float | None, typer.Option("--max-latency", help="Most seconds that an answer may take, on this machine.")
]
Prices = Annotated[
    list[str] | None,
    typer.Option("--price", metavar="NAME=NUMBER", help="A token of an endpoint costs as of so many parameters."),
]
HoursOf = Annotated[
    float | None, typer.Option("--hours", help="Time for all starts of the run; what does not fit is told.")
]


def given_beside(recipe: str, docs: str | None, train: str | None) -> dict[str, str | None]:
    """Index and rows, which only `auto` takes."""
    if recipe == "auto":
        return {"docs": docs, "train": train}
    if docs or train:
        hint = "leave it out, or leave --recipe out"
        raise BadParameter(f"{recipe} takes none", field="--docs" if docs else "--train", hint=hint)
    return {}


def wanted(
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
