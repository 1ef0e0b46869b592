"""`consort collect`: statistics of a model's weights on texts, for the merge methods that want them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from consort.cli.options import Debug, Force, Json, Out, RemoteCode, Seed
from consort.cli.output import note, print_json


def collect(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="fisher | gram")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder, lab:NAME, hf:ORG/NAME, a merge plan.")],
    texts: Annotated[str, typer.Option("--texts", help='A JSONL file of {"text": ...} lines.')],
    out: Out,
    labels: Annotated[
        str, typer.Option("--labels", help="fisher: sampled (drawn from the model) | empirical (the text's).")
    ] = "sampled",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first texts.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=2, help="Of each text.")] = 512,
    memory: Annotated[str, typer.Option("--memory", help="Most statistics held at once, e.g. 2GB.")] = "2GB",
    seed: Seed = 0,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Collect statistics of a model on texts into a folder; killed and run again it resumes."""
    from consort.cli.merge import size_of
    from consort.merge.collect import collect as run
    from consort.merge.collect import read_texts
    from consort.plan import build, read_plan

    checkpoint = build(read_plan(model), "checkpoint", allow_remote_code=allow_remote_code)
    found = run(
        kind,
        checkpoint,
        read_texts(texts, limit),
        out,
        labels=labels,  # type: ignore[arg-type]
        seed=seed,
        max_tokens=max_tokens,
        max_bytes=size_of(memory),
        force=force,
    )
    if json:
        print_json({"path": str(found.path), "tensors": found.tensors} | asdict(found.description))
    else:
        told = found.description
        note(f"{told.kind} of {found.tensors} tensors of {told.model}: {told.texts} texts, {told.tokens} tokens")
        print(found.path)
