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
    str, typer.Option("--task", help="A file of rows, a YAML file or folder of a task, lab:tasks/NAME, lm-eval:NAME.")
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
Template = Annotated[
    str | None,
    typer.Option("--template", help="Chat templates: own (else plain lines, told) | required (else refused) | none."),
]
NoTemplate = Annotated[bool, typer.Option("--no-template", help="The same as --template none.")]


Push = Annotated[
    str | None, typer.Option("--push", metavar="ORG/NAME", help="Upload the result to this repository of a hub.")
]


def placed(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with options that say how its models are held: --dtype, --device, --device-map, --template."""

    def run(given: dict[str, Any], arguments: dict[str, Any]) -> None:
        from consort.models.placement import held, parsed_map

        if given["device_map"] is not None:
            given["device_map"] = parsed_map(given["device_map"])
        if given.pop("no_template"):
            if given["template"] not in (None, "none"):
                hint = "give one of the two"
                raise BadParameter("none, says --no-template", field="--template", hint=hint)
            given["template"] = "none"
        with held(**given):
            verb(**arguments)

    added = {"dtype": Dtype, "device": Device, "device_map": DeviceMap, "template": Template, "no_template": NoTemplate}
    return _with_options(verb, added, run)


def pushed(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, which writes the folder `out`, with the option --push, which uploads it."""

    def run(given: dict[str, Any], arguments: dict[str, Any]) -> None:
        from consort.cli.output import note

        repository = given["push"]
        if repository is not None:
            from consort.runs.push import check_repository

            check_repository(repository)
        verb(**arguments)
        if repository is not None and not (arguments.get("dry_run") or arguments.get("print_plan")):
            from consort.runs.push import push_to_hub

            note(f"{repository}: {push_to_hub(arguments['out'], repository)}")

    return _with_options(verb, {"push": Push}, run)


def _with_options(
    verb: Callable[..., None], added: dict[str, Any], run: Callable[[dict[str, Any], dict[str, Any]], None]
) -> Callable[..., None]:
    """A verb with more options: `run` gets their values and the verb's own arguments."""
    signature = inspect.signature(verb, eval_str=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in added.items()
    ]

    @wraps(verb)
    def whole(**arguments: Any) -> None:
        try:
            run({name: arguments.pop(name) for name in added}, arguments)
        except ConsortError as error:
            if error.field in added:
                error.field = f"--{error.field.replace('_', '-')}"
            raise

    plain = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    whole.__signature__ = signature.replace(parameters=[*plain, *options])  # type: ignore[attr-defined]
    whole.__annotations__ = {**verb.__annotations__, **added}
    return whole
