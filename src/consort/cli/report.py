"""`consort report`: one self-contained HTML file of a run, finished or not; of several, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import Debug, Json, named_path
from consort.cli.output import print_json


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", parser=named_path("DIR"), help="Folders of runs, finished or not."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            parser=named_path("--out"),
            help="Default: report.html in DIR; of several comparison.html in the first.",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run, or of several side by side."""
    from consort.runs.reporting import report as write

    target = write(folders, out)
    print_json({"path": str(target)}) if json else print(target)
