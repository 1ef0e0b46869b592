"""Options that every verb shares, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.core.errors import BadParameter, ConsortError


def named_path(field: str) -> Callable[[str], Path]:
    """Reads a path that says something: an empty one would mean the current folder."""

    def read(text: str) -> Path:
        if not text:
            raise BadParameter("is empty", field=field, hint="name a file or folder; `.` is the current one")
        return Path(text)

    return read


def named(text: str) -> str:
    """A reference that says something."""
    if not text:
        raise BadParameter("is empty", field="PLAN|MODEL", hint="a plan file, a model folder, lab:NAME or hf:ORG/NAME")
    return text


def _temperature(value: float) -> float:
    if not 0 <= value < inf:
        hint = "0 always takes the likeliest token, 1 draws by the model's own probabilities"
        raise BadParameter(f"{value:g} is not a number ≥ 0", field="--temperature", hint=hint)
    return value


def _top_p(value: float) -> float:
    if not 0 < value <= 1:
        hint = "a number above 0, up to 1, which leaves nothing out"
        raise BadParameter(f"{value:g} is not a share of the probability", field="--top-p", hint=hint)
    return value


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document (JSON lines where a list streams).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides every random draw.")]
Debug = Annotated[bool, typer.Option("--debug", help="Add the traceback to an error.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a non-empty output.")]
RemoteCode = Annotated[
    bool, typer.Option("--allow-remote-code", help="Run model code that comes with a checkpoint (trusted ones only).")
]
System = Annotated[
    str,
    typer.Argument(metavar="PLAN|MODEL", parser=named, help="A plan file, '-', a model folder, lab:NAME, hf:ORG/NAME."),
]
Task = Annotated[
    str, typer.Option("--task", help="A task: JSONL file, YAML file, folder with task.yml, or lab:tasks/NAME.")
]
TaskCode = Annotated[
    bool,
    typer.Option("--allow-task-code", help="Run a metric that is code (trusted ones only) or that runs answers."),
]
Out = Annotated[Path, typer.Option("--out", metavar="PATH", parser=named_path("--out"), help="The run folder.")]
Temperature = Annotated[
    float, typer.Option("--temperature", callback=_temperature, help="0: always the likeliest token.")
]
TopP = Annotated[float, typer.Option("--top-p", callback=_top_p, help="Draw from the likeliest tokens of this share.")]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="What models are held and computed in: auto (the files' own) | float32 | bfloat16 | float16."
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu | cuda | cuda:1 | mps.")]
DeviceMap = Annotated[
    str | None, typer.Option("--device-map", help="Spread models over devices through accelerate: auto, or JSON.")
]


def placed(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with options that say how its models are held: --dtype, --device, --device-map."""
    signature = inspect.signature(verb, eval_str=True)
    added = {"dtype": Dtype, "device": Device, "device_map": DeviceMap}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in added.items()
    ]

    @wraps(verb)
    def run(*, dtype: str | None, device: str | None, device_map: str | None, **arguments: Any) -> None:
        from consort.models.placement import held, parsed_map

        try:
            given = None if device_map is None else parsed_map(device_map)
            with held(dtype=dtype, device=device, device_map=given):
                verb(**arguments)
        except ConsortError as error:
            if error.field in added:
                error.field = f"--{error.field.replace('_', '-')}"
            raise

    plain = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    run.__signature__ = signature.replace(parameters=[*plain, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {**verb.__annotations__, **added}
    return run
