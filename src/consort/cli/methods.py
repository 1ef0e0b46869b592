"""`consort methods`: what is registered, read from source; imports no torch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from consort.cli.options import Debug, Json
from consort.cli.output import print_json, print_table
from consort.core.params import REQUIRED, Param
from consort.core.registry import Entry


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with its parameters.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Every registered method: kind, name, paper, parameters with range and default."""
    from consort.core.catalogue import entries, find

    if name:
        registry, entry = find(name)
        described = describe(entry, registry.inputs)
        print_json(described) if json else _print_one(described)
        return
    found = entries(kind)
    if json:
        print_json([describe(entry) for entry in found])
    else:
        rows = [(e.name, e.kind, e.paper, e.summary) for e in found]
        print_table(("name", "kind", "paper", "what it does"), rows, numbers=False)


def describe(entry: Entry, inputs: tuple[Param, ...] = ()) -> dict[str, Any]:
    """An entry as plain values; `from` is the distribution that it comes with."""
    return {
        "name": entry.name,
        "kind": entry.kind,
        "paper": entry.paper,
        "summary": entry.summary,
        "from": entry.home or "consort",
        "parameters": [
            {
                "name": p.plan_name,
                "type": p.describe(),
                "default": None if p.default is REQUIRED else p.default,
                "required": p.required,
            }
            for p in (*inputs, *entry.params)
        ],
    }


def _print_one(method: dict[str, Any]) -> None:
    paper = f" (arXiv {method['paper']})" if method["paper"][:1].isdigit() else ""
    print(f"{method['name']} ({method['kind']}): {method['summary']}{paper}\n")
    rows = [
        (p["name"], p["type"], "required" if p["required"] else "" if p["default"] is None else str(p["default"]))
        for p in method["parameters"]
    ]
    print_table(("parameter", "type", "default"), rows, numbers=False)
