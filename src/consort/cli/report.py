"""`consort report`: one self-contained HTML file of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import Debug, Json, named_path
from consort.cli.output import print_json


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=named_path("DIR"), help="A run folder with results.json.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", parser=named_path("--out"), help="Default: DIR/report.html.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run."""
    from consort.report import write_report

    target = out or folder / "report.html"
    write_report(folder, target)
    print_json({"path": str(target)}) if json else print(target)
