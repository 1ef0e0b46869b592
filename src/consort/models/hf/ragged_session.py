"""Ragged batches on a cache of our own, for transformers modules whose layers keep keys and values.

The ragged cache keeps token t of a row in slot t, so a rollback is an integer; a slot is overwritten before it is next
attended to, and a query attends to the slots up to its own position, so no row sees another's padding.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from consort.core.types import Usage
from consort.models.abilities import States
from consort.models.cost import Meter
from consort.models.hf.hidden import no_states, readout_of, states_of
from consort.models.hf.host import Host

ATTENTION_CACHES = ("cache", "past_key_values")
"""What `forward` calls its cache of keys and values: transformers from 5.24 on, and before."""
CACHES = (*ATTENTION_CACHES, "cache_params", "state")
"""The same with the names that recurrent models have used."""
_GROWTH = 32
"""Slots added at a time when a cache is full."""


@dataclass(slots=True)
class _Place:
    """Where the tokens of the current pass go: slots[row, i], and how many slots there are then."""

    slots: Tensor
    width: int
    first: int | None
    """The first slot if it is the same for all rows, which makes writing a copy."""


class _RaggedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, `batch head slot size`; the first `place.width` slots are in use."""

    keys: Tensor | None
    values: Tensor | None

    def __init__(self, cache: _RaggedCache) -> None:
        super().__init__()
        self.cache = cache

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self._written(self.keys, key_states), self._written(self.values, value_states)
        width = self.cache.place.width
        return self.keys[:, :, :width], self.values[:, :, :width]

    def _written(self, store: Tensor | None, new: Tensor) -> Tensor:
        place = self.cache.place
        had = 0 if store is None else store.shape[2]
        if had < place.width:
            batch, heads, _, size = new.shape
            larger = new.new_zeros(batch, heads, place.width + _GROWTH, size)
            if store is not None:
                larger[:, :, :had] = store
            store = larger
        assert store is not None
        if place.first is not None:
            store[:, :, place.first : place.first + new.shape[2]] = new
        else:
            store.scatter_(2, place.slots[:, None, :, None].expand_as(new), new)
        return store

    def select(self, rows: Tensor, width: int) -> None:
        if self.keys is not None and self.values is not None:
            self.keys = self.keys[:, :, : width + _GROWTH].index_select(0, rows)
            self.values = self.values[:, :, : width + _GROWTH].index_select(0, rows)

    def get_seq_length(self) -> int:
        return self.cache.place.width - self.cache.place.slots.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.place.width, 0


class _RaggedCache(Cache):  # type: ignore[misc]
    """The layers of a ragged batch, and where the current pass writes."""

    def __init__(self, layers: int) -> None:
        self.place = _Place(torch.zeros(1, 0, dtype=torch.long), 0, 0)
        super().__init__(layers=[_RaggedLayer(self) for _ in range(layers)])


@dataclass(frozen=True, slots=True)
class Windows:
    """How the layers attend: `layers` in number, to everything before (`full`) and/or to the last `sliding` tokens."""

    layers: int
    full: bool
    sliding: int | None


def cache_argument(module: Any) -> str | None:
    """The argument of `forward` that takes its cache, which is also the output that returns it; None without one."""
    parameters = inspect.signature(module.forward).parameters
    return next((name for name in CACHES if name in parameters), None)


def windows_of(module: Any) -> Windows | None:
    """How a module attends, or None if its layers keep something other than keys and values of all tokens."""
    if cache_argument(module) not in ATTENTION_CACHES:
        return None
    try:
        layers = DynamicCache(config=module.config).layers
    except (KeyError, AttributeError, TypeError, ValueError):  # a config of its own kind tells nothing of its layers
        return None
    if not layers or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return None
    sliding = {layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)}
    if len(sliding) > 1:
        return None
    full = any(type(layer) is DynamicLayer for layer in layers)
    return Windows(len(layers), full, sliding.pop() if sliding else None)


class RaggedSession:
    """A batch on the ragged cache, one forward pass for each feed."""

    def __init__(self, model: Host, batch: int, windows: Windows) -> None:
        self.model, self.windows = model, windows
        self.lengths = [0] * batch
        self.cache = _RaggedCache(windows.layers)
        self.cache_argument = cache_argument(model.module) or ""
        self.meter = Meter(model.name, batch)

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return self._feed(tokens, last)

    def feed_hidden(
        self, tokens: Sequence[Sequence[int]], layers: Sequence[int] = (-1,), *, last: bool = False
    ) -> list[States]:
        """As `feed`, with hidden states of `layers` (see `abilities.HiddenSession`)."""
        hidden: list[Tensor] = []
        found = []
        for row, logits in enumerate(self._feed(tokens, last, hidden)):
            read = [layer[row, : len(tokens[row])] for layer in hidden]
            found.append(states_of(logits, read, layers) if len(logits) else no_states(self.model, len(layers)))
        return found

    @torch.no_grad()
    def layer_logits(
        self, hidden: Float[Tensor, "*shape size"], *, norm: bool = False
    ) -> Float[Tensor, "*shape vocab"]:
        """Float32 logits that the output head gives for hidden states; with `norm` the final norm comes first."""
        return readout_of(self.model)(hidden, norm)

    @torch.no_grad()
    def _feed(
        self, tokens: Sequence[Sequence[int]], last: bool, hidden: list[Tensor] | None = None
    ) -> list[Float[Tensor, "new vocab"]]:
        """The logits; `hidden` is filled with the states `row new size` of all layers, if it is given."""
        begun, counts = time.perf_counter(), [len(new) for new in tokens]
        self.model.check_feed(self.lengths, tokens)
        new = max(counts, default=0)
        if new == 0:
            return [self.model.no_logits()] * len(counts)
        device = self.model.device
        ids = torch.tensor([[*row, *[0] * (new - len(row))] for row in tokens], device=device)
        slots = torch.tensor(self.lengths, device=device)[:, None] + torch.arange(new, device=device)
        same = len(set(self.lengths)) == 1
        self.cache.place = _Place(slots, max(self.lengths) + new, self.lengths[0] if same else None)
        keep = sorted({n - 1 for n in counts if n}) if last else list(range(new))
        logits = self._forward(ids, slots, keep, same, hidden)
        self.lengths = [length + n for length, n in zip(self.lengths, counts, strict=True)]
        self.meter.add(tokens, last, time.perf_counter() - begun)
        if not last:
            return [logits[row, :n] for row, n in enumerate(counts)]
        at = {position: i for i, position in enumerate(keep)}
        rows = logits.unbind(0)
        return [x[at[n - 1] : at[n - 1] + 1] if n else x[:0] for x, n in zip(rows, counts, strict=True)]

    def _forward(
        self, ids: Tensor, slots: Tensor, keep: list[int], same: bool, hidden: list[Tensor] | None
    ) -> Float[Tensor, "row kept vocab"]:
        model = self.model
        plain = same and self.windows.sliding is None and (self.lengths[0] == 0 or ids.shape[1] == 1)
        arguments: dict[str, Any] = {self.cache_argument: self.cache, "use_cache": True}
        arguments["attention_mask"] = None if plain else self._mask(slots)
        # padding may lie past the last position that the model knows
        positions = slots if model.window is None else slots.clamp(max=model.window - 1)
        if len(keep) < ids.shape[1]:
            arguments["logits_to_keep"] = torch.tensor(keep, device=ids.device)
        if "position_ids" in model.arguments:
            arguments["position_ids"] = positions
        if hidden is not None:
            arguments["output_hidden_states"] = True
        out = model.module(input_ids=ids, **arguments)
        if hidden is not None:
            hidden += out.hidden_states
        logits: Tensor = out.logits.float()
        return logits if logits.shape[1] == len(keep) else logits[:, keep]

    def _mask(self, slots: Tensor) -> Tensor | dict[str, Tensor]:
        """What is added to attention scores: 0 for slots a query may see, -inf for the others."""
        all_slots = torch.arange(self.cache.place.width, device=slots.device)
        back = slots[:, None, :, None] - all_slots
        full = back >= 0
        masks = {"full_attention": full} if self.windows.full else {}
        if self.windows.sliding is not None:
            masks["sliding_attention"] = full & (back < self.windows.sliding)
        dtype = self.model.module.dtype
        zero, never = torch.zeros((), dtype=dtype), torch.full((), -torch.inf, dtype=dtype)
        added = {name: torch.where(mask, zero.to(mask.device), never.to(mask.device)) for name, mask in masks.items()}
        return added if len(added) > 1 else next(iter(added.values()))

    def rollback(self, lengths: Sequence[int]) -> None:
        self.lengths = [min(a, b) for a, b in zip(self.lengths, lengths, strict=True)]

    @torch.no_grad()
    def select(self, rows: Sequence[int]) -> RaggedSession:
        self.lengths = [self.lengths[row] for row in rows]
        width = max(self.lengths, default=0)
        for layer in self.cache.layers:
            layer.select(torch.tensor(rows, dtype=torch.long, device=self.model.device), width)
        self.meter.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.meter.spent()
