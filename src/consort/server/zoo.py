"""The zoo: the models with weights that are served, what each is, and how alike they are (see `consort zoo`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consort.models.remote.wire.objects import dumped
from consort.server.handlers import allowed
from consort.server.http import Call, Reply
from consort.server.table import Served
from consort.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from consort.server.app import State

MOST_WEIGHTS = 2**31
"""Numbers in all models together up to which they are compared; beyond, only what they are is told."""
KEPT = 16
"""Zoos whose comparison is remembered."""
_known: dict[tuple[int, ...], tuple[list[Any], dict[str, Any]]] = {}
"""By the models themselves, which are kept, so that no other has the same number."""


async def zoo(state: State, call: Call) -> Reply:
    """Every model with weights: architecture, size, vocabulary; and the cosines of weights and of differences."""
    served = [one for one in allowed(state, call) if _source(one) is not None]
    key = tuple(id(one.model) for one in served)
    found = _known.get(key)
    if found is None:
        found = [one.model for one in served], await asyncio.to_thread(described, served)
        while len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = found
    return Reply(200, dumped(found[1]))


def described(served: Sequence[Served]) -> dict[str, Any]:
    """What the zoo is, by id; `similarity` as `Similarities.to_json`, None where there is too much to read."""
    from consort.zoo.similarity import similarities

    ids, checkpoints = [one.id for one in served], [_opened(one) for one in served]
    models = [_about(one, checkpoint) for one, checkpoint in zip(served, checkpoints, strict=True)]
    total = sum(model["parameters"] for model in models)
    compared = None
    if len(served) > 1 and total <= MOST_WEIGHTS:
        compared = similarities(checkpoints, names=ids).to_json()
    return {"models": models, "similarity": compared}


def _source(served: Served) -> Any:
    """The folder or checkpoint that a model was loaded from; None for what has no weights of its own."""
    found = getattr(served.model, "source", None)
    is_folder = isinstance(found, str | Path) and Path(found).is_dir()
    return found if is_folder or hasattr(found, "spec") else None


def _opened(served: Served) -> Checkpoint:
    from consort.weights import open_checkpoint

    source = _source(served)
    found: Checkpoint = source if hasattr(source, "spec") else open_checkpoint(source)
    return found


def _about(served: Served, checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.config
    return {
        "id": served.id,
        "architecture": str(config.get("model_type", "")),
        "parameters": sum(prod(checkpoint.spec(name).shape) for name in checkpoint.keys()),
        "layers": config.get("num_hidden_layers"),
        "width": config.get("hidden_size"),
        "vocabulary": config.get("vocab_size"),
        "window": getattr(served.model, "window", None),
    }
