"""Ragged batches on a cache of our own, for transformers modules whose layers keep keys and values.

The ragged cache keeps token t of a row in slot t, so a rollback is an integer; a slot is overwritten before it is next
attended to, and a query attends to the slots up to its own position, so no row sees another's padding.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
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


_PASS = 32
"""What a pass of its own costs, in tokens of padding that it saves."""


@dataclass(slots=True)
class _Place:
    """Where the tokens of the current pass go: slots[row, i], and how many slots there are then.

    `rows` are the rows that take part, None for all of them.
    """

    slots: Tensor
    width: int
    first: int | None
    """The first slot if it is the same for all rows, which makes writing a copy."""
    rows: Tensor | None = None


class _RaggedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, `batch head slot size`; the first `place.width` slots are in use."""

    keys: Tensor | None
    values: Tensor | None

    def __init__(self, cache: _RaggedCache) -> None:
        super().__init__()
        self.cache = cache

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self._written(self.keys, key_states), self._written(self.values, value_states)
        place = self.cache.place
        keys, values = self.keys[:, :, : place.width], self.values[:, :, : place.width]
        return (keys, values) if place.rows is None else (keys[place.rows], values[place.rows])

    def _written(self, store: Tensor | None, new: Tensor) -> Tensor:
        place = self.cache.place
        had = 0 if store is None else store.shape[2]
        if had < place.width:
            _, heads, _, size = new.shape
            larger = new.new_zeros(self.cache.batch, heads, place.width + _GROWTH, size)
            if store is not None:
                larger[:, :, :had] = store
            store = larger
        assert store is not None
        slots = place.slots.to(new.device)
        if place.rows is not None:
            store[place.rows.to(new.device)[:, None], :, slots] = new.transpose(1, 2)
        elif place.first is not None:
            store[:, :, place.first : place.first + new.shape[2]] = new
        else:
            store.scatter_(2, slots[:, None, :, None].expand_as(new), new)
        return store

    def select(self, rows: Tensor, width: int) -> None:
        if self.keys is not None and self.values is not None:
            rows = rows.to(self.keys.device)
            self.keys = self.keys[:, :, : width + _GROWTH].index_select(0, rows)
            self.values = self.values[:, :, : width + _GROWTH].index_select(0, rows)

    def admit(self, rows: int) -> None:
        if self.keys is not None and self.values is not None:
            self.keys, self.values = (
                torch.cat([store, store.new_zeros(rows, *store.shape[1:])]) for store in (self.keys, self.values)
            )

    def get_seq_length(self) -> int:
        return self.cache.place.width - self.cache.place.slots.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.place.width, 0


class _RaggedCache(Cache):  # type: ignore[misc]
    """The layers of a ragged batch, and where the current pass writes."""

    def __init__(self, attention: Attention, batch: int) -> None:
        self.place, self.batch = _Place(torch.zeros(1, 0, dtype=torch.long), 0, 0), batch
        super().__init__(layers=[_RaggedLayer(self) if kind is None else kind() for kind in attention.layers])


@dataclass(frozen=True, slots=True)
class Attention:
    """How the layers of a module attend.

    `reach` has the kinds of layers by the names that transformers gives their masks: how many of the last tokens one
    sees, or how many tokens are in a chunk, None for all. `layers` are the classes of those that keep nothing of
    their own, None for all others.
    """

    layers: tuple[Callable[[], Any] | None, ...]
    reach: Mapping[str, int | None]


def cache_argument(module: Any) -> str | None:
    """The argument of `forward` that takes its cache, which is also the output that returns it; None without one."""
    parameters = inspect.signature(module.forward).parameters
    return next((name for name in CACHES if name in parameters), None)


def attention_of(module: Any) -> Attention | None:
    """How a module attends, or None if its layers keep something other than keys and values of all tokens."""
    if cache_argument(module) not in ATTENTION_CACHES:
        return None
    try:
        layers = DynamicCache(config=module.config).layers
    except (LookupError, AttributeError, TypeError, ValueError):  # a config of its own kind tells nothing of its layers
        return None
    kept: list[Callable[[], Any] | None] = []
    sizes: dict[str, set[int | None]] = {}
    text = module.config.get_text_config(decoder=True)
    for number, layer in enumerate(layers):
        if type(layer).__name__ == "DummyLayer":  # it reads the keys of another
            kept.append(type(layer))
        elif type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
            kept.append(None)
            size = layer.sliding_window if isinstance(layer, DynamicSlidingWindowLayer) else None
            sizes.setdefault(_kind_of(text, number, size), set()).add(size)
        else:
            return None
    if not sizes or any(len(found) > 1 for found in sizes.values()):
        return None
    return Attention(tuple(kept), {kind: found.pop() for kind, found in sizes.items()})


def _kind_of(text: Any, layer: int, size: int | None) -> str:
    """What transformers calls the mask of a layer."""
    if size is None:
        return "full_attention"
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        sliding = getattr(text, "sliding_window", None) is not None
        return "sliding_attention" if sliding else "chunked_attention"
    return "chunked_attention" if kinds[layer] == "chunked_attention" else "sliding_attention"


def passes(counts: Sequence[int]) -> list[list[int]]:
    """Rows in groups that are read in one pass each, so that little is padding; longest rows first.

    >>> passes([3, 100, 2, 90])
    [[1, 3], [0, 2]]
    """
    groups: list[list[int]] = []
    padding = 0
    for row in sorted(range(len(counts)), key=lambda row: -counts[row]):
        more = counts[groups[-1][0]] - counts[row] if groups else 0
        if not groups or padding + more > _PASS:
            groups.append([])
            padding = more = 0
        groups[-1].append(row)
        padding += more
    return [sorted(group) for group in groups if any(counts[row] for row in group)]


class RaggedSession:
    """A batch on the ragged cache, one forward pass for each feed; two or more where that saves much padding."""

    def __init__(self, model: Host, batch: int, attention: Attention) -> None:
        self.model, self.attention = model, attention
        self.lengths = [0] * batch
        self.cache = _RaggedCache(attention, batch)
        self.cache_argument = cache_argument(model.module) or ""
        self.meter = Meter(model.name, batch)

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return self._feed(tokens, last)

    def feed_hidden(
        self, tokens: Sequence[Sequence[int]], layers: Sequence[int] = (-1,), *, last: bool = False
    ) -> list[States]:
        """As `feed`, with hidden states of `layers` (see `abilities.HiddenSession`)."""
        hidden: list[list[Tensor]] = [[] for _ in tokens]
        return [
            states_of(logits, read, layers) if len(logits) else no_states(self.model, len(layers))
            for logits, read in zip(self._feed(tokens, last, hidden), hidden, strict=True)
        ]

    @torch.no_grad()
    def layer_logits(
        self, hidden: Float[Tensor, "*shape size"], *, norm: bool = False
    ) -> Float[Tensor, "*shape vocab"]:
        """Float32 logits that the output head gives for hidden states; with `norm` the final norm comes first."""
        return readout_of(self.model)(hidden, norm)

    @torch.no_grad()
    def _feed(
        self, tokens: Sequence[Sequence[int]], last: bool, hidden: list[list[Tensor]] | None = None
    ) -> list[Float[Tensor, "new vocab"]]:
        """The logits; `hidden[row]` is filled with the states `new size` of all layers, if it is given."""
        begun, counts = time.perf_counter(), [len(new) for new in tokens]
        self.model.check_feed(self.lengths, tokens)
        found = [self.model.no_logits()] * len(counts)
        groups = passes(counts)
        for rows in groups if len(groups) > 1 else [list(range(len(counts)))] * len(groups):
            states: list[Tensor] = []
            logits = self._read([tokens[row] for row in rows], rows, last, None if hidden is None else states)
            for i, row in enumerate(rows):
                found[row] = logits[i]
                if hidden is not None:
                    hidden[row] = [layer[i, : counts[row]] for layer in states]
        self.lengths = [length + n for length, n in zip(self.lengths, counts, strict=True)]
        self.meter.add(tokens, last, time.perf_counter() - begun)
        return found

    def _read(
        self, tokens: Sequence[Sequence[int]], rows: Sequence[int], last: bool, hidden: list[Tensor] | None
    ) -> list[Float[Tensor, "new vocab"]]:
        """Logits of new tokens of some of the rows; `hidden` is filled with the states `row new size` of all layers."""
        device, counts = self.model.device, [len(new) for new in tokens]
        lengths, most = [self.lengths[row] for row in rows], max(map(len, tokens))
        ids = torch.tensor([[*row, *[0] * (most - len(row))] for row in tokens], device=device)
        starts = torch.tensor(lengths, device=device)[:, None]
        slots = starts + torch.arange(most, device=device)
        same, whole = len(set(lengths)) == 1, len(rows) == len(self.lengths)
        chosen = None if whole else torch.tensor(rows, device=device)
        first = lengths[0] if same and whole else None
        self.cache.place = _Place(slots, max(lengths) + most, first, chosen)
        keep = sorted({n - 1 for n in counts if n}) if last else list(range(most))
        # padding must not lie beyond the row: it may be past the last position, or switch the rotary angles
        ends = (starts + torch.tensor(counts, device=device)[:, None] - 1).clamp(min=0)
        plain = same and (lengths[0] == 0 or most == 1)
        logits = self._forward(ids, slots.minimum(ends), keep, plain, hidden)
        if not last:
            return [logits[row, :n] for row, n in enumerate(counts)]
        at = {position: i for i, position in enumerate(keep)}
        return [x[at[n - 1] : at[n - 1] + 1] if n else x[:0] for x, n in zip(logits.unbind(0), counts, strict=True)]

    def _forward(
        self, ids: Tensor, positions: Tensor, keep: list[int], plain: bool, hidden: list[Tensor] | None
    ) -> Float[Tensor, "row kept vocab"]:
        """`plain`: all rows see all that is before them, and nothing has to be masked where no layer has a window."""
        model, reach = self.model, self.attention.reach
        arguments: dict[str, Any] = {self.cache_argument: self.cache, "use_cache": True}
        masked = not plain or any(size is not None for size in reach.values())
        arguments["attention_mask"] = self._mask(self.cache.place.slots) if masked else None
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
        asking = slots[:, None, :, None]
        added = {}
        zero = torch.zeros((), dtype=self.model.module.dtype, device=slots.device)
        for kind, size in self.attention.reach.items():
            seen = asking >= all_slots
            if size is not None and kind == "chunked_attention":
                seen = seen & (asking // size == all_slots // size)
            elif size is not None:
                seen = seen & (asking - all_slots < size)
            added[kind] = torch.where(seen, zero, zero - torch.inf)
        return added if len(added) > 1 else next(iter(added.values()))

    def rollback(self, lengths: Sequence[int]) -> None:
        self.lengths = [min(a, b) for a, b in zip(self.lengths, lengths, strict=True)]

    @torch.no_grad()
    def admit(self, rows: int) -> RaggedSession:
        self.lengths = [*self.lengths, *[0] * rows]
        self.cache.batch = len(self.lengths)
        for layer in self.cache.layers:
            if isinstance(layer, _RaggedLayer):
                layer.admit(rows)
        self.meter.admit(rows)
        return self

    @torch.no_grad()
    def select(self, rows: Sequence[int]) -> RaggedSession:
        self.lengths = [self.lengths[row] for row in rows]
        width = max(self.lengths, default=0)
        self.cache.batch = len(rows)
        for layer in self.cache.layers:
            if isinstance(layer, _RaggedLayer):
                layer.select(torch.tensor(rows, dtype=torch.long), width)
        self.meter.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.meter.spent()
