"""A lean forward pass in which rows go through different layers, or tokens through several MLPs, behind one cache.

The experts are of one architecture, so keys and values of all of them have their place in the same cache: a row's are
those of the experts that it went through, and the cache stays right as long as the row's choice does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from consort.models.hf.lean_pass import Layer, LeanModule, Linear, Norm, _turned
from consort.models.hf.packing import Place


class Chooser(Protocol):
    """Decides which experts rows and tokens go to."""

    def experts_of(self, layer: int, hidden: Float[Tensor, "token hidden"], place: Place) -> list[int]:
        """The expert of each row of the batch at the input of `layer`; -1 for a row without new tokens."""

    def shares_of(self, layer: int, x: Float[Tensor, "token hidden"], place: Place) -> Float[Tensor, "token expert"]:
        """How much of each expert's MLP each token gets, 0 where it is not chosen."""


@dataclass(slots=True)
class Mlp:
    """The second half of a layer without its norm; all that is kept of an expert of the ffn level."""

    gate: Linear
    up: Linear
    middle_norm: Norm | None
    down: Linear
    act: object

    def __call__(self, x: Float[Tensor, "token hidden"]) -> Float[Tensor, "token hidden"]:
        inner = self.act(self.gate(x)).mul_(self.up(x))  # type: ignore[operator]
        return self.down(inner if self.middle_norm is None else self.middle_norm(inner))


def mlp_of(layer: Layer) -> Mlp:
    return Mlp(layer.gate, layer.up, layer.middle_norm, layer.down, layer.act)


class MixturePass:
    """What a `LeanSession` wants of a lean module; from layer `first` on, `experts` take the place of dense layers.

    `experts[e][i]` is expert e's part of layer first + i: a `Layer`, or an `Mlp` where only MLPs are mixed.
    """

    def __init__(
        self, dense: LeanModule, experts: Sequence[Sequence[Layer] | Sequence[Mlp]], first: int, chooser: Chooser
    ) -> None:
        self.dense, self.experts, self.first, self.chooser = dense, experts, first, chooser
        self.layers, self.groups, self.size = dense.layers, dense.groups, dense.size
        self.embedding, self.windows, self.norm = dense.embedding, dense.windows, dense.norm
        self.logits = dense.logits

    def forward(
        self, ids: Int[Tensor, " token"], keys: Tensor, values: Tensor, place: Place, kept: list[Tensor] | None = None
    ) -> Float[Tensor, "token hidden"]:
        """As `LeanModule.forward`."""
        hidden = F.embedding(ids, self.embedding)
        cos, sin = self.dense.angles(place.width)
        turn = cos[place.positions], sin[place.positions]
        for number, layer in enumerate(self.layers):
            if kept is not None:
                kept.append(hidden.clone())
            cache = keys[number], values[number]
            if number < self.first:
                self._attend_and_add(layer, hidden, cache, turn, place)
                hidden += mlp_of(layer)(layer.between(hidden))
            elif isinstance(self.experts[0][0], Mlp):
                self._attend_and_add(layer, hidden, cache, turn, place)
                hidden += self._mixed(number, layer.between(hidden), place)
            else:
                self._routed(number, hidden, cache, turn, place)
        if kept is not None:
            kept.append(hidden)
        return hidden

    def _attend_and_add(
        self, layer: Layer, hidden: Tensor, cache: tuple[Tensor, Tensor], turn: tuple[Tensor, Tensor], place: Place
    ) -> None:
        x = self.dense._attend(layer, layer.before(hidden), *cache, turn, place)
        layer.out.onto(hidden, x if layer.inner_norm is None else layer.inner_norm(x))

    def _mixed(self, number: int, x: Float[Tensor, "token hidden"], place: Place) -> Float[Tensor, "token hidden"]:
        """The experts' MLPs, each on the tokens that chose it."""
        shares, total = self.chooser.shares_of(number, x, place), torch.zeros_like(x)
        for expert, parts in enumerate(self.experts):
            (chosen,) = torch.where(shares[:, expert] > 0)
            if len(chosen):
                out = parts[number - self.first](x[chosen])  # type: ignore[operator]
                total.index_add_(0, chosen, out * shares[chosen, expert, None].to(out.dtype))
        return total

    def _routed(
        self, number: int, hidden: Tensor, cache: tuple[Tensor, Tensor], turn: tuple[Tensor, Tensor], place: Place
    ) -> None:
        """Each row's new tokens through the whole layer of its expert, in place."""
        of_rows = self.chooser.experts_of(number, hidden, place)
        for expert in sorted({e for e in of_rows if e >= 0}):
            layer = self.experts[expert][number - self.first]
            rows = [row for row, e in enumerate(of_rows) if e == expert]
            if len(rows) == len(of_rows):
                self._attend_and_add(layer, hidden, cache, turn, place)  # type: ignore[arg-type]
                hidden += mlp_of(layer)(layer.between(hidden))  # type: ignore[arg-type, union-attr]
            else:
                self._some_rows(layer, hidden, cache, turn, place, rows)  # type: ignore[arg-type]

    def _some_rows(
        self,
        layer: Layer,
        hidden: Tensor,
        cache: tuple[Tensor, Tensor],
        turn: tuple[Tensor, Tensor],
        place: Place,
        rows: Sequence[int],
    ) -> None:
        kept = torch.tensor(rows, device=hidden.device)
        (tokens,) = torch.where(torch.isin(place.rows, kept))
        part, own = hidden[tokens], _restricted(place, rows, kept, tokens)
        x, size, count = layer.before(part), self.size, len(tokens)
        query, key = layer.query(x).view(count, -1, size), layer.key(x).view(count, -1, size)
        value = layer.value(x).view(count, -1, size)
        if layer.query_norm and layer.key_norm:
            query, key = layer.query_norm(query), layer.key_norm(key)
        own_turn = turn[0][tokens], turn[1][tokens]
        query, key = _turned(query, own_turn), _turned(key, own_turn)
        for store, new in zip(cache, (key, value), strict=True):
            store[place.rows[tokens], :, place.slots[tokens]] = new
        if own.first:
            x = self.dense._attend_from_the_start(layer, query, key, value, own)
        else:
            own_keys, own_values = (store[kept, :, : place.width] for store in cache)
            x = self.dense._attend_to_slots(layer, query, own_keys, own_values, own)
        layer.out.onto(part, x if layer.inner_norm is None else layer.inner_norm(x))
        part += mlp_of(layer)(layer.between(part))
        hidden[tokens] = part


def _restricted(place: Place, rows: Sequence[int], kept: Tensor, tokens: Tensor) -> Place:
    """The place of some rows' tokens, rows numbered anew; slots are those of the whole batch."""
    counts = [place.counts[row] for row in rows]
    most = max(counts)

    def mask_of(mask: Tensor | None) -> Tensor | None:
        if mask is None:
            return None
        return mask[kept][:, :, :most, :most] if place.first else mask[kept][:, :most]

    return replace(
        place,
        rows=torch.searchsorted(kept, place.rows[tokens]),
        offsets=place.offsets[tokens],
        slots=place.slots[tokens],
        positions=place.positions[tokens],
        counts=counts,
        start=None,
        masks={window: mask_of(mask) for window, mask in place.masks.items()},
    )
