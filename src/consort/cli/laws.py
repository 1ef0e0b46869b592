"""`consort laws`: the battery of laws over methods by name, those of plug-ins too."""

from __future__ import annotations

from typing import Annotated

import typer

from consort.cli.options import Debug, Json
from consort.cli.output import print_json


def laws(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Registered methods: NAME or KIND.NAME.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Run the laws of its kind on a method of yours; exit code 1 if one is broken.

    One line for each law: ok, broken and what is, or does not apply and why.
    """
    from consort.testing.battery import battery, subjects

    for name in names:
        subjects(name)  # all names, before the first takes its time
    found = []
    for name in dict.fromkeys(names):
        for verdict in battery(name):
            found.append(verdict)
            if not json:
                print(verdict, flush=True)
    if json:
        print_json([verdict.as_dict() for verdict in found])
    return int(any(verdict.state == "broken" for verdict in found))
