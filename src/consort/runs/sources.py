"""The checkpoints under models."""

from __future__ import annotations

from typing import Any

from consort.models.cost import leaves as models_in
from consort.plan.references import has_weights
from consort.weights import open_checkpoint
from consort.weights.checkpoint import Checkpoint


def sources_of(model: Any) -> list[Checkpoint]:
    """What the models inside a strategy were loaded from, as checkpoints; what has no weights here is left out."""
    found = [getattr(m, "source", None) for m in models_in(model)]
    local = [s for s in found if s is not None and (isinstance(s, Checkpoint) or has_weights(str(s)))]
    return [s if isinstance(s, Checkpoint) else open_checkpoint(s) for s in local]
