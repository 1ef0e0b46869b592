"""Early read-outs of one model: what its output head makes of earlier layers, the most different one chosen (DoLa)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.types import Usage
from consort.models.abilities import States, with_hidden
from consort.models.token_model import TokenModel


class Layered:
    """A model read once, with several columns of logits: the last layer's where a bucket is empty, else an earlier's.

    The layer is chosen for each position by itself. Raises Unsupported for a model that hides its layers.
    """

    def __init__(
        self, model: TokenModel, buckets: Sequence[tuple[int, ...]], batch: int, divergence: str = "textbook"
    ) -> None:
        self.session = with_hidden(model.open(batch), model.name)
        self.buckets, self.divergence = list(buckets), divergence
        self.layers = sorted({layer for bucket in buckets for layer in bucket})

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[list[Float[Tensor, "new vocab"]]]:
        if not any(map(len, tokens)):
            return [self.session.feed(tokens, last=last) for _ in self.buckets]
        rows = self.session.feed_hidden(tokens, self.layers, last=last)
        return [[self._column(row, bucket) for row in rows] for bucket in self.buckets]

    def _column(self, row: States, bucket: tuple[int, ...]) -> Float[Tensor, "new vocab"]:
        if not bucket or not len(row.logits):
            return row.logits
        hidden = row.hidden[[self.layers.index(layer) for layer in bucket]]
        return most_different(row.logits, self.session.layer_logits(hidden, norm=True), self.divergence)

    def rollback(self, lengths: Sequence[int]) -> None:
        self.session.rollback(lengths)

    def select(self, rows: Sequence[int]) -> None:
        self.session = with_hidden(self.session.select(rows))

    def spent(self) -> list[dict[str, Usage]]:
        return self.session.spent()


def most_different(
    final: Float[Tensor, "new vocab"], early: Float[Tensor, "layer new vocab"], divergence: str = "textbook"
) -> Float[Tensor, "new vocab"]:
    """For each position the logits of the layer whose distribution is farthest from the last one's."""
    measure = jensen_shannon if divergence == "textbook" else released_divergence
    size = min(final.shape[-1], early.shape[-1])
    early = early[..., :size]
    apart = torch.stack([measure(final[:, :size], layer) for layer in early])
    return early[apart.argmax(0), torch.arange(early.shape[1], device=early.device)]


def jensen_shannon(p: Float[Tensor, "row vocab"], q: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """(KL(p || m) + KL(q || m)) / 2 in nats, m the mean; from logits."""
    a, b = p.log_softmax(-1), q.log_softmax(-1)
    middle = torch.logaddexp(a, b) - math.log(2)
    return (_kl(a, middle) + _kl(b, middle)) / 2


def released_divergence(p: Float[Tensor, "row vocab"], q: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """What the published code computes: the arguments of both KL swapped, the mean over the vocabulary."""
    a, b = p.log_softmax(-1), q.log_softmax(-1)
    middle = torch.logaddexp(a, b) - math.log(2)
    return (_kl(middle, a) + _kl(middle, b)) / (2 * p.shape[-1])


def _kl(a: Float[Tensor, "row vocab"], b: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """KL(a || b) from log-probabilities; a token of probability 0 under a adds 0."""
    return torch.where(a > -torch.inf, a.exp() * (a - b), 0).sum(-1)
