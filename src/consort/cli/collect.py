"""`consort collect`: what merges want from texts: statistics of a model's weights, or what is trained for a merge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.options import Debug, Force, Json, Out, RemoteCode, Seed
from consort.cli.output import note, print_json, result
from consort.core.counted import counted
from consort.core.errors import BadParameter, did_you_mean

THROUGH = "through_merge"
KINDS = f"fisher | gram | {THROUGH} | adamerging | concrete | surgery"

if TYPE_CHECKING:
    from consort.merge.collect.run import Collected


def collect(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=KINDS)],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder, lab:NAME, hf:ORG/NAME, a merge plan.")],
    texts: Annotated[
        str, typer.Option("--texts", help='JSONL of {"text": ...} lines; what trains also takes a task\'s lines.')
    ],
    out: Out,
    labels: Annotated[
        str, typer.Option("--labels", help="fisher: sampled (drawn from the model) | empirical (the text's).")
    ] = "sampled",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first texts.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=2, help="Of each text.")] = 512,
    memory: Annotated[str, typer.Option("--memory", help="Most statistics held at once, e.g. 2GB.")] = "2GB",
    steps: Annotated[int, typer.Option("--steps", min=0, help="Of training: adamerging, concrete, surgery.")] = 500,
    lr: Annotated[float, typer.Option("--lr", help="The learning rate of training.")] = 1e-3,
    grain: Annotated[str, typer.Option("--grain", help="adamerging: a coefficient by tensor | by model.")] = "tensor",
    off_diagonal: Annotated[float, typer.Option(min=0, max=1, help="through_merge: as regmean will have it.")] = 0.9,
    adaptive: Annotated[bool, typer.Option("--adaptive", help="concrete: learn coefficients too.")] = False,
    seed: Seed = 0,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Collect statistics of a model on texts, or train what a merge leaves open; killed and run again it resumes."""
    from consort.cli.merge import size_of
    from consort.merge.collect.run import collect as run
    from consort.merge.collect.run import read_texts
    from consort.merge.trained import KINDS as TRAINED
    from consort.plan import build, read_plan
    from consort.weights.stats import KINDS as STATISTICS

    known = (*STATISTICS, THROUGH, *TRAINED)
    if kind not in known:
        raise BadParameter(f"there is nothing to collect called {kind!r}", field="KIND", hint=did_you_mean(kind, known))
    checkpoint = build(read_plan(model), "checkpoint", allow_remote_code=allow_remote_code)
    if kind == THROUGH:
        _through(checkpoint, texts, out, limit, {"max_tokens": max_tokens, "off_diagonal": off_diagonal}, force, json)
        return
    if kind in TRAINED:
        options = {"steps": steps, "lr": lr, "grain": grain, "adaptive": adaptive}
        _train(kind, checkpoint, texts, out, limit, {**options, "seed": seed, "max_tokens": max_tokens}, force, json)
        return
    settings: dict[str, Any] = {"labels": labels, "seed": seed, "max_tokens": max_tokens}
    settings["max_bytes"] = size_of(memory, "--memory")
    _print_collected(run(kind, checkpoint, read_texts(texts, limit), out, force=force, **settings), json)


def _print_collected(found: Collected, json: bool) -> None:
    if json:
        print_json({"path": str(found.path), "tensors": found.tensors} | asdict(found.description))
    else:
        told = found.description
        read = f"{counted(told.texts, 'text')}, {counted(told.tokens, 'token')}"
        note(f"{told.kind} of {counted(found.tensors, 'tensor')} of {told.model}: {read}")
        result(found.path)


def _through(
    merge: Any,
    texts: str,
    out: Path,
    limit: int | None,
    settings: dict[str, Any],
    force: bool,
    json: bool,
) -> None:
    """Statistics of the models of a `linear` merge, through their merge; lines have a group named like a model."""
    from consort.merge.collect.through_merge import collect_through_merge, models_of, texts_by_model

    models, weight = models_of(merge)
    lines = texts_by_model(texts, limit)
    folders = collect_through_merge(models, lines, out, weight=weight, force=force, **settings)
    if json:
        print_json({"path": str(out), "statistics": [str(folder) for folder in folders]})
        return
    note(f"gram of {counted(len(models), 'model')} through their merge; for regmean: statistics in this order")
    for folder in folders:
        print(folder)


def _train(
    kind: str, merge: Any, texts: str, out: Path, limit: int | None, options: dict[str, Any], force: bool, json: bool
) -> None:
    from consort.merge.trained.collecting import Options, collect_trained
    from consort.merge.trained.passages import read_passages

    found = collect_trained(kind, merge, read_passages(texts, limit), out, Options(**options), force=force)
    if json:
        print_json(asdict(found) | {"path": str(found.path)})
    else:
        read = counted(found.passages, "passage")
        note(f"{kind} of {', '.join(found.models)}: {read}, {found.before:.4f} -> {found.after:.4f}")
        result(found.path)
