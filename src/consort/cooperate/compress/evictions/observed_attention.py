"""Positions that attention has gone to (H2O, 2306.14048)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.compress.eviction import Eviction, Held
from consort.cooperate.compress.evictions import eviction

QUERIES = 256
"""Tokens whose attention is held at once."""


@eviction(paper="2306.14048")
class ObservedAttention(Eviction):
    """Keep the positions of the largest mean attention: over the heads that share a key, and the tokens that saw it."""

    needs_states = True

    def scores(self, held: Held) -> Float[Tensor, "layer head slot"]:
        assert held.states is not None
        pairs = zip(held.lean.layers, held.states, held.keys, strict=True)
        return torch.stack([self._of_layer(held.lean, *pair) for pair in pairs])

    def _of_layer(self, lean: object, layer: object, states: Tensor, keys: Tensor) -> Float[Tensor, "head slot"]:
        query = queries(lean, layer, states)
        heads, slots, shared = keys.shape[0], keys.shape[1], query.shape[1] // keys.shape[0]
        total = keys.new_zeros(heads, slots, dtype=torch.float32)
        at = torch.arange(slots, device=keys.device)
        for begin in range(0, slots, QUERIES):
            q = query[begin : begin + QUERIES].view(-1, heads, shared, query.shape[-1])
            scores = torch.einsum("qhsd,hkd->hsqk", q, keys).float() * lean.scale  # type: ignore[attr-defined]
            unseen = at[None, :] > (at[begin : begin + len(q)])[:, None]
            total += scores.masked_fill(unseen, -torch.inf).softmax(-1).sum((1, 2))
        return total / (shared * (slots - at))


def queries(lean: object, layer: object, states: Tensor) -> Float[Tensor, "token head size"]:
    """The rotated queries of a layer, from the states before it."""
    from consort.models.hf.lean_pass import Layer, LeanModule, _turned

    assert isinstance(lean, LeanModule) and isinstance(layer, Layer)
    cos, sin = lean.angles(len(states))
    query = layer.query(layer.before(states)).reshape(-1, lean.heads, lean.size)
    if layer.query_norm:
        query = layer.query_norm(query)
    return _turned(query, (cos[: len(states)], sin[: len(states)]))
