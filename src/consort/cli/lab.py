"""`consort lab`: the bundled tiny models and tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import Debug, Json, named_path
from consort.cli.output import note, print_json
from consort.core.errors import BadCheckpoint, listing

app = typer.Typer(help="The bundled tiny models and tasks.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def path(
    name: Annotated[str | None, typer.Argument(help="A model or tasks/NAME; none: the whole zoo.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Where a bundled model or task lies."""
    from consort import lab

    found = lab.path(name)
    print_json({"path": str(found), "names": lab.names()}) if json else print(found)


@app.command()
def train(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides every weight and example.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", parser=named_path("--out"), help="Where the zoo is written.")
    ] = Path("zoo"),
    part: Annotated[
        list[str] | None,
        typer.Option("--part", help="Only this part; again for more. compose, domains, halves, others: by name alone."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the whole zoo again (CPU, about a quarter of an hour); killed and run again it continues."""
    from consort import lab

    lab.train(seed=seed, out=out, parts=part or None)
    print_json({"path": str(out), "seed": seed}) if json else note(f"trained into {out}")


@app.command()
def verify(json: Json = False, debug: Debug = False) -> None:
    """Check that the bundled files have the hashes of their manifest."""
    from consort import lab

    wrong = lab.verify()
    if wrong:
        hint = "reinstall consort, or make the zoo again with `consort lab train`"
        raise BadCheckpoint(listing(f"{m.file} is {m.problem}" for m in wrong), field="lab", hint=hint)
    print_json({"ok": True}) if json else print("every bundled file has the hash of its manifest")
