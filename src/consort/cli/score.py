"""`consort score`: log-likelihood of continuations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import Debug, Json, RemoteCode, System
from consort.cli.output import print_json
from consort.core.errors import Unsupported


def score(
    system: System,
    pairs: Annotated[Path, typer.Option("--pairs", help='JSON lines of {"context": …, "continuation": …}.')],
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Log-likelihood (nats) of `continuation` given `context`, for each line."""
    from consort.data import load_pairs
    from consort.models import Scorer
    from consort.plan import build, read_plan

    plan, asked = read_plan(system), load_pairs(pairs)
    model = build(plan, "model", allow_remote_code=allow_remote_code)
    if not isinstance(model, Scorer):
        hint = "a model or a strategy on token level can score; one that works on answers cannot"
        raise Unsupported(f"{model.name} has no log-likelihoods", field="PLAN", hint=hint)
    for value in model.score(asked):
        print_json({"logprob": value}) if json else print(f"{value:.6f}")
