"""`consort status`: what a run is doing, best so far, time left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import Debug, Json, named_path
from consort.cli.output import print_json


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", parser=named_path("DIR"), help="The folder of a run.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say whether a run is running, finished or killed, how far it is, the best so far and the time left."""
    from consort.runs.status import status_of

    found = status_of(folder)
    if json:
        print_json(found.to_json())
        return
    for line in found.lines:
        print(line)
