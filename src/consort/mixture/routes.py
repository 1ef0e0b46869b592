"""What a batch's rows have been routed to: decided once on what a row reads first, kept as long as the row lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from consort.mixture.gates import Gate, top_k
from consort.models.hf.packing import Place

if TYPE_CHECKING:
    from consort.core.types import Usage
    from consort.models.abilities import States
    from consort.models.hf.lean_session import LeanSession


class Routes:
    """A `Chooser`: gates by layer, and for every row its shares of the experts by the layer of the decision.

    `by_token`: each token is routed by itself. Else a row's shares come from the mean of the tokens of its first feed
    (`first_token`: from the first of them), and stay. `once` names the layer whose gate decides for all later ones.
    """

    def __init__(
        self, gates: Mapping[int, Gate], k: int, batch: int, *, by_token: bool, first_token: bool, once: int | None
    ) -> None:
        self.gates, self.k, self.by_token, self.first_token, self.once = gates, k, by_token, first_token, once
        self.rows: list[dict[int, Tensor]] = [{} for _ in range(batch)]

    def experts_of(self, layer: int, hidden: Float[Tensor, "token hidden"], place: Place) -> list[int]:
        """The expert that each row goes to in a layer; -1 for a row without tokens."""
        layer = layer if self.once is None else self.once
        shares = self._decided(layer, hidden, place)
        return [int(s.argmax()) if count else -1 for s, count in zip(shares, place.counts, strict=True)]

    def shares_of(self, layer: int, x: Float[Tensor, "token hidden"], place: Place) -> Float[Tensor, "token expert"]:
        """The share of each expert in a layer, token by token; they sum to 1."""
        if self.by_token:
            return self._shares(layer, x)
        return self._decided(layer, x, place)[place.rows]

    def _decided(self, layer: int, x: Tensor, place: Place) -> Float[Tensor, "row expert"]:
        """The shares of every row; those that are undecided are decided now. Zeros for a row that has read nothing."""
        open_rows = [row for row, count in enumerate(place.counts) if count and layer not in self.rows[row]]
        if open_rows:
            shares = self._shares(layer, self._inputs(x, place)[open_rows])
            for row, share in zip(open_rows, shares, strict=True):
                self.rows[row][layer] = share
        nothing = x.new_zeros(self.gates[layer].experts, dtype=torch.float32)
        return torch.stack([decided.get(layer, nothing) for decided in self.rows])

    def _inputs(self, x: Tensor, place: Place) -> Float[Tensor, "row hidden"]:
        used = place.offsets == 0 if self.first_token else torch.ones_like(place.offsets, dtype=torch.bool)
        sums = x.new_zeros(len(place.counts), x.shape[1], dtype=torch.float32)
        sums.index_add_(0, place.rows[used], x[used].float())
        counts = torch.zeros(len(sums), device=x.device).index_add_(0, place.rows[used], used[used].float())
        return sums / counts.clamp_min(1)[:, None]

    def _shares(self, layer: int, x: Float[Tensor, "some hidden"]) -> Float[Tensor, "some expert"]:
        shares, chosen = top_k(self.gates[layer](x), self.k)
        return torch.zeros(len(x), self.gates[layer].experts, device=x.device).scatter_(1, chosen, shares)


class MixtureSession:
    """A lean session whose rows are routed; a row that goes back to its very beginning is routed anew."""

    def __init__(self, inner: LeanSession, routes: Routes) -> None:
        self.inner, self.routes = inner, routes

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return self.inner.feed(tokens, last=last)

    def feed_hidden(
        self, tokens: Sequence[Sequence[int]], layers: Sequence[int] = (-1,), *, last: bool = False
    ) -> list[States]:
        return self.inner.feed_hidden(tokens, layers, last=last)

    def layer_logits(
        self, hidden: Float[Tensor, "*shape size"], *, norm: bool = False
    ) -> Float[Tensor, "*shape vocab"]:
        return self.inner.layer_logits(hidden, norm=norm)

    def rollback(self, lengths: Sequence[int]) -> None:
        self.inner.rollback(lengths)
        self.routes.rows = [d if n else {} for d, n in zip(self.routes.rows, self.inner.lengths, strict=True)]

    def select(self, rows: Sequence[int]) -> MixtureSession:
        self.inner = self.inner.select(rows)
        self.routes.rows = [dict(self.routes.rows[row]) for row in rows]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.inner.spent()
