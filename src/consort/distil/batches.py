"""Targets of several documents as one padded batch, and the fusion loss on the student's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.distil.targets import Target
from consort.train.losses import rest_surprisal, surprisal


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids, padded on the right, and for every position what is learnt there.

    Place 0 of `ids` is the text's next token, the others are the fused row. `text` and `fused` are the weights of the
    two losses at a position: lam / number of learnt positions, (1 - lam) / number of fused ones, 0 elsewhere.
    """

    tokens: Int[Tensor, "document token"]
    ids: Int[Tensor, "document token k+1"]
    p: Float[Tensor, "document token k"]
    rest: Float[Tensor, "document token"]
    text: Float[Tensor, "document token"]
    fused: Float[Tensor, "document token"]

    def to(self, device: torch.device) -> Batch:
        """The same tensors on a device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))


def parts(targets: Sequence[Target], lam: float | None, size: int, *, pad: int = 0) -> list[Batch]:
    """The documents of one step, `size` at a time; losses are means over the whole step.

    `lam` None takes 1 - reward of the best candidate at each position instead (the variant `soft`).
    """
    learnt = max(sum(len(t.at) for t in targets), 1)
    aligned = max(sum(int((t.p.sum(1) > 0).sum()) for t in targets), 1)
    return [_batch(targets[i : i + size], lam, learnt, aligned, pad) for i in range(0, len(targets), size)]


def _batch(targets: Sequence[Target], lam: float | None, learnt: int, aligned: int, pad: int) -> Batch:
    width, k = max(len(t.tokens) for t in targets), max(t.ids.shape[1] for t in targets)
    shape = (len(targets), width)
    tokens, ids = np.full(shape, pad, np.int64), np.zeros((*shape, k + 1), np.int64)
    p, rest = np.zeros((*shape, k), np.float32), np.zeros(shape, np.float32)
    text, fused = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for row, t in enumerate(targets):
        tokens[row, : len(t.tokens)] = t.tokens
        ids[row, t.at, 0] = t.label
        ids[row, t.at, 1 : 1 + t.ids.shape[1]] = t.ids
        p[row, t.at, : t.p.shape[1]] = t.p
        rest[row, t.at] = t.rest
        own = 1 - t.reward if lam is None else lam
        text[row, t.at] = own / learnt
        fused[row, t.at] = (1 - own) / aligned * (t.p.sum(1) > 0)
    return Batch(*map(torch.from_numpy, (tokens, ids, p, rest, text, fused)))


def fusion_loss(logits: Float[Tensor, "document token vocab"], batch: Batch) -> Float[Tensor, "2"]:
    """The two terms of a part's loss: lam · cross entropy of the text, (1 - lam) · cross entropy with the fused rows.

    Both come from one pass over the logits; nothing else of their size is made but their gradient.
    """
    flat = logits.reshape(-1, logits.shape[-1])
    found = surprisal(flat, batch.ids.flatten(0, 1))
    p = batch.p.flatten(0, 1)
    taught = (p * found[:, 1:]).sum(-1)
    if bool((batch.rest > 0).any()):
        taught = taught + batch.rest.flatten() * rest_surprisal(found[:, 1:], p)
    return torch.stack([(batch.text.flatten() * found[:, 0]).sum(), (batch.fused.flatten() * taught).sum()])


def loss_of(model: nn.Module, batch: Batch) -> Float[Tensor, "2"]:
    """`fusion_loss` of a module of transformers; no mask, since padding comes after everything that is learnt."""
    place = next(model.parameters()).device
    batch = batch.to(place)
    return fusion_loss(model(input_ids=batch.tokens, use_cache=False).logits, batch)
