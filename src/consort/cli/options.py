"""Options that every verb shares, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document (JSON lines where a list streams).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides every random draw.")]
Debug = Annotated[bool, typer.Option("--debug", help="Add the traceback to an error.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a non-empty output.")]
RemoteCode = Annotated[
    bool, typer.Option("--allow-remote-code", help="Run model code that comes with a checkpoint (trusted ones only).")
]
System = Annotated[
    str, typer.Argument(metavar="PLAN|MODEL", help="A plan file, '-', a model folder, lab:NAME, hf:ORG/NAME.")
]
Task = Annotated[
    str, typer.Option("--task", help="A task: JSONL file, YAML file, folder with task.yml, or lab:tasks/NAME.")
]
Out = Annotated[Path, typer.Option("--out", help="The run folder.")]
