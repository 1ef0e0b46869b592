"""Sessions on the lean forward pass: ragged rows in preallocated caches, token trees, hidden states.

Rollback sets an integer for each row: a slot is overwritten before it is next attended to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.types import Usage
from consort.models.abilities import States, check_trees, check_unbounded, depths_of
from consort.models.base import Session
from consort.models.cost import Meter
from consort.models.hf.host import Host
from consort.models.hf.lean_pass import LeanModule, NotLean
from consort.models.hf.packing import Place, alike, last_of, portions, worth_it_apart
from consort.models.hf.slot_memory import FEWEST, larger, move, selected, zeros


class LeanSession:
    """A batch on the lean forward pass, one pass for each feed, or one for each `portion` of its tokens."""

    portion = 2**60

    def __init__(self, model: Host, lean: LeanModule, batch: int) -> None:
        self.model, self.lean, self.lengths = model, lean, [0] * batch
        self.offsets = [0] * batch  # by how much a row's positions are ahead of its slots
        self.keys = self.values = self._cache(batch, 0)
        self.meter = Meter(model.name, batch)
        self._tree: tuple[int, ...] | None = None

    def _cache(self, batch: int, slots: int) -> Tensor:
        lean = self.lean
        return zeros((len(lean.layers), batch, lean.groups, slots, lean.size), lean.embedding)

    @torch.no_grad()
    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        begun = time.perf_counter()
        self.model.check_feed(self.reached, tokens)
        if not any(map(len, tokens)):
            return [self.model.no_logits()] * len(tokens)
        found = self._logits(tokens, last)
        self._advance(tokens, last, begun)
        return found

    def _logits(self, tokens: Sequence[Sequence[int]], last: bool) -> list[Float[Tensor, "new vocab"]]:
        """What `feed` gives, before anything is counted."""
        # what routes rows by their number wants to see them all
        split = last and isinstance(self.lean, LeanModule)
        parts = alike(tokens) if split else [slice(0, len(tokens))]
        found = [
            self._read(tokens[part][rows], slice(part.start + rows.start, part.start + rows.stop), last)
            for part in parts
            for rows in portions(tokens[part], self.portion)
        ]
        return list(chain.from_iterable(found))

    def _read(self, tokens: Sequence[Sequence[int]], rows: slice, last: bool) -> tuple[Tensor, ...]:
        """Logits by row for new tokens of some of the rows."""
        place = self._place(tokens, rows)
        if last and place.most > 1 and isinstance(self.lean, LeanModule):
            place = self._with_last(place, self.lengths[rows])
        hidden = self.lean.forward(self._ids(tokens), self.keys[:, rows], self.values[:, rows], place)
        counts = list((place.last or place).counts)
        if last and place.last is None:
            hidden, counts = last_of(hidden, counts)
        return torch.split(self.lean.logits(hidden), counts)

    @torch.no_grad()
    def feed_hidden(
        self, tokens: Sequence[Sequence[int]], layers: Sequence[int] = (-1,), *, last: bool = False
    ) -> list[States]:
        """As `feed`, with hidden states of `layers` (see `abilities.HiddenSession`)."""
        begun = time.perf_counter()
        self.model.check_feed(self.reached, tokens)
        if not any(map(len, tokens)):
            hidden = self.lean.embedding.new_empty(len(layers), 0, self.lean.embedding.shape[1])
            return [States(self.model.no_logits(), hidden)] * len(tokens)
        kept: list[Tensor] = []
        place = self._place(tokens)
        self.lean.forward(self._ids(tokens), *self._in_use(), place, kept)
        kept[-1] = self.lean.norm(kept[-1])
        counts = list(place.counts)
        chosen = torch.stack([kept[layer] for layer in layers])
        final = kept[-1]
        if last:
            final, _ = last_of(final, counts)
            chosen, counts = last_of(chosen.transpose(0, 1), counts)
            chosen = chosen.transpose(0, 1)
        logits = self.lean.logits(final, norm=False)
        self._advance(tokens, last, begun)
        return [States(*pair) for pair in zip(torch.split(logits, counts), torch.split(chosen, counts, 1), strict=True)]

    @torch.no_grad()
    def layer_logits(
        self, hidden: Float[Tensor, "*shape size"], *, norm: bool = False
    ) -> Float[Tensor, "*shape vocab"]:
        """Float32 logits that the output head gives for hidden states; with `norm` the final norm comes first."""
        return self.lean.logits(hidden, norm=norm)

    @torch.no_grad()
    def feed_tree(
        self, tokens: Sequence[Sequence[int]], parents: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "node vocab"]]:
        """Read a tree behind each sequence in one pass (see `abilities.TreeSession`); then call `keep`."""
        begun = time.perf_counter()
        check_trees(tokens, parents)
        depths = [depths_of(row) for row in parents]
        self.model.check_feed(
            self.reached, [row[: max(deep, default=-1) + 1] for row, deep in zip(tokens, depths, strict=True)]
        )
        self._tree = tuple(map(len, tokens))
        if not any(self._tree):
            return [self.model.no_logits()] * len(tokens)
        place = self._place(tokens, depths=depths, parents=parents)
        logits = self.lean.logits(self.lean.forward(self._ids(tokens), *self._in_use(), place))
        self.meter.add(tokens, False, time.perf_counter() - begun)
        return list(torch.split(logits, list(place.counts)))

    @torch.no_grad()
    def keep(self, paths: Sequence[Sequence[int]]) -> None:
        """Of each tree, keep the nodes of one branch; their keys and values move to the front."""
        for row, path in enumerate(paths):
            start = self.lengths[row]
            if list(path) != list(range(len(path))):
                taken = torch.tensor(path, device=self.keys.device) + start
                for store in (self.keys, self.values):
                    store[:, row, :, start : start + len(path)] = store[:, row, :, taken]
            self.lengths[row] = start + len(path)
        self._tree = None

    def rollback(self, lengths: Sequence[int]) -> None:
        self.lengths = [min(a, b) for a, b in zip(self.lengths, lengths, strict=True)]
        self.offsets = [offset if n else 0 for offset, n in zip(self.offsets, self.lengths, strict=True)]

    @property
    def reached(self) -> list[int]:
        """The position that each row goes on at."""
        return [n + offset for n, offset in zip(self.lengths, self.offsets, strict=True)]

    @torch.no_grad()
    def feed_embeddings(
        self, vectors: Sequence[Float[Tensor, "new size"]], *, last: bool = False
    ) -> list[Float[Tensor, "new vocab"]]:
        """As `feed`, with vectors in the place of tokens (see `abilities.EmbeddingSession`)."""
        begun = time.perf_counter()
        tokens = [[0] * len(own) for own in vectors]
        self.model.check_feed(self.reached, tokens)
        if not any(map(len, tokens)):
            return [self.model.no_logits()] * len(tokens)
        place = self._place(tokens)
        whole = torch.cat([own.to(self.lean.embedding) for own in vectors])
        hidden, counts = self.lean.forward(whole, *self._in_use(), place), list(place.counts)
        if last:
            hidden, counts = last_of(hidden, counts)
        logits = torch.split(self.lean.logits(hidden), counts)
        self._advance(tokens, last, begun)
        return list(logits)

    @torch.no_grad()
    def put_slots(self, row: int, keys: Tensor, values: Tensor, position: int) -> None:
        """Put keys and values at the beginning of a row (see `abilities.SlotSession`)."""
        check_unbounded(self.lean.windows, self.model.name)
        slots = keys.shape[2]
        self._grow(slots)
        self.keys[:, row, :, :slots], self.values[:, row, :, :slots] = keys, values
        self.lengths[row], self.offsets[row] = slots, position - slots

    @torch.no_grad()
    def select(self, rows: Sequence[int]) -> LeanSession:
        if list(rows) != list(range(len(self.lengths))):
            had = len(self.lengths)
            self.lengths, self.offsets = [self.lengths[row] for row in rows], [self.offsets[row] for row in rows]
            width = max(self.lengths, default=0)
            if len(rows) <= had and len(set(rows)) == len(rows):
                for store in (self.keys, self.values):
                    move(store, rows, width)
                self.meter.select(rows)
                return self
            kept = torch.tensor(rows, dtype=torch.long, device=self.keys.device)
            self.keys, self.values = (selected(store, kept, width) for store in (self.keys, self.values))
        self.meter.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.meter.spent()

    @torch.no_grad()
    def admit(self, rows: int) -> LeanSession:
        """New rows at the end, in memory that is there, or in twice as much."""
        self.lengths, self.offsets = [*self.lengths, *[0] * rows], [*self.offsets, *[0] * rows]
        had, needed = self.keys.shape[1], len(self.lengths)
        if needed > had:
            self._larger(max(needed, 2 * had), self.keys.shape[3])
        self.meter.admit(rows)
        return self

    @torch.no_grad()
    def copy_beginning(self, source: int, target: int, tokens: int) -> None:
        """What a row has read first becomes that of an empty row (see `abilities.CopyingSession`)."""
        for store in (self.keys, self.values):
            store[:, target, :, :tokens] = store[:, source, :, :tokens]
        self.lengths[target], self.offsets[target] = tokens, self.offsets[source]

    def _in_use(self) -> tuple[Tensor, Tensor]:
        """Keys and values of the rows that there are; memory may be there for more."""
        rows = len(self.lengths)
        return self.keys[:, :rows], self.values[:, :rows]

    def _advance(self, tokens: Sequence[Sequence[int]], last: bool, begun: float) -> None:
        self.lengths = [length + len(new) for length, new in zip(self.lengths, tokens, strict=True)]
        self.meter.add(tokens, last, time.perf_counter() - begun)

    def _ids(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(list(chain.from_iterable(tokens)), device=self.keys.device)

    def _place(
        self,
        tokens: Sequence[Sequence[int]],
        rows: slice = slice(None),
        depths: Sequence[Sequence[int]] | None = None,
        parents: Sequence[Sequence[int]] | None = None,
    ) -> Place:
        """Where new tokens of these rows go; the cache has room for them after this. The rest is that of trees."""
        counts, lengths = [len(new) for new in tokens], self.lengths[rows]
        width = max(length + count for length, count in zip(lengths, counts, strict=True))
        most = max(counts)
        self._grow(max(lengths) + most)
        device = self.keys.device
        even = min(counts) == most
        same = even and min(lengths) == max(lengths)
        first = parents is None and max(lengths) == 0
        offsets = torch.tensor([i for n in counts for i in range(n)], device=device)
        owners = torch.tensor([row for row, n in enumerate(counts) for _ in range(n)], device=device)
        starts = torch.tensor(lengths, device=device)
        slots = offsets + starts[owners]
        positions = slots
        if depths is not None:
            positions = starts[owners] + torch.tensor(list(chain.from_iterable(depths)), device=device)
        ahead = self.offsets[rows]
        if any(ahead):
            positions = positions + torch.tensor(ahead, device=device)[owners]
        place = Place(owners, offsets, slots, positions, counts, width, lengths[0] if same else None, first, {})
        place.shift = max(ahead)
        if parents is None and most == 1 and not same and isinstance(self.lean, LeanModule):
            place.apart = worth_it_apart(counts, lengths, width, self.keys)
        plain = parents is None and (first or (same and most == 1))
        for window in self.lean.windows:
            free = place.apart or (plain and (window is None or width <= window))
            place.masks[window] = None if free else self._mask(place, starts, window, depths, parents)
        return place

    def _with_last(self, place: Place, lengths: Sequence[int]) -> Place:
        """`place` with that of the last tokens alone, in rows that had these lengths."""
        counts = torch.tensor(place.counts, device=place.rows.device)
        ends = counts.cumsum(0)[counts > 0] - 1
        rows, slots, positions = place.rows[ends], place.slots[ends], place.positions[ends]
        ones = [min(count, 1) for count in place.counts]
        last = Place(rows, torch.zeros_like(ends), slots, positions, ones, place.width, None, False, {})
        starts = (torch.tensor(lengths, device=counts.device) + counts - 1).clamp_(min=0)
        for window in self.lean.windows:
            last.masks[window] = self._mask(last, starts, window, None, None)
        return replace(place, ends=ends, last=last)

    def _mask(
        self,
        place: Place,
        starts: Tensor,
        window: int | None,
        depths: Sequence[Sequence[int]] | None,
        parents: Sequence[Sequence[int]] | None,
    ) -> Float[Tensor, "row new slot"]:
        """What is added to scores: 0 for slots that a token may see, -inf for the others."""
        device, most = starts.device, place.most
        slots = torch.arange(most if place.first else place.width, device=device)
        at = starts[:, None] + torch.arange(most, device=device)
        seen = slots <= at[..., None]
        reach = at
        if parents is not None and depths is not None:
            seen = slots < starts[:, None, None]
            seen = seen.expand(-1, most, -1).clone()
            reach = at.clone()
            for row, above in enumerate(parents):
                _see_ancestors(seen[row], above, self.lengths[row])
                reach[row, : len(above)] = starts[row] + torch.tensor(depths[row], device=device)
        if window is not None:
            seen = seen & (self._slot_positions(slots, starts, depths) > reach[..., None] - window)
        zero = torch.zeros((), dtype=self.keys.dtype, device=device)
        mask = torch.where(seen, zero, zero - torch.inf)
        return mask[:, None] if place.first else mask

    def _slot_positions(self, slots: Tensor, starts: Tensor, depths: Sequence[Sequence[int]] | None) -> Tensor:
        """The position of the token in each slot, `row 1 slot`; that of a tree's node is not its slot."""
        found = slots.expand(len(starts), -1).clone()
        for row, deep in enumerate(depths or ()):
            start = self.lengths[row]
            found[row, start : start + len(deep)] = start + torch.tensor(deep, device=slots.device)
        return found[:, None]

    def _grow(self, slots: int) -> None:
        had = self.keys.shape[3]
        if slots > had:
            self._larger(self.keys.shape[1], max(FEWEST, slots, 2 * had))

    def _larger(self, batch: int, slots: int) -> None:
        used = min(len(self.lengths), self.keys.shape[1]), max(self.lengths, default=0)
        self.keys, self.values = (larger(store, batch, slots, used) for store in (self.keys, self.values))


def _see_ancestors(seen: Tensor, parents: Sequence[int], start: int) -> None:
    """Let each node of a tree see itself and what its parent sees; `seen` is `node slot`."""
    for node, parent in enumerate(parents):
        if parent >= 0:
            seen[node, start:] = seen[parent, start:]
        seen[node, start + node] = True


class LeanOpener:
    """Opens lean sessions while the module keeps its shape, else what `other` opens (found when first needed)."""

    def __init__(self, model: Host, find_other: Callable[[], Callable[[int], Session]]) -> None:
        self.model, self.find_other = model, find_other
        self._other: Callable[[int], Session] | None = None

    def __call__(self, batch: int) -> Session:
        try:
            return LeanSession(self.model, LeanModule(self.model.module), batch)
        except (NotLean, AttributeError):
            if self._other is None:
                self._other = self.find_other()
            return self._other(batch)
