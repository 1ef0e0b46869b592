"""A checkpoint whose hidden units and heads are reordered: another arrangement of the same function.

`Permute` finds the order that brings a model nearest to a reference: weight matching (Ainsworth et al. 2022, Git
Re-Basin, arXiv 2209.04836, section 3.2). The residual stream is left alone here, so modules do not depend on each
other, and the paper's coordinate descent is one exact assignment for each MLP and a nested one for heads in groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.core.errors import Incompatible, Unsupported, listing
from consort.weights.checkpoint import Checkpoint
from consort.weights.registry import view
from consort.weights.views.assignment import assign
from consort.weights.views.basic import View
from consort.weights.views.units import Member, Units, members, units_of


class Order(NamedTuple):
    """New place i holds the old unit `units[i]`; `inner` is the same for all inner units of all units."""

    units: Int[np.ndarray, "unit"]
    inner: Int[np.ndarray, "inner"]


class Permuted(View):
    """`source` with the units of each module in the order that `order` gives; every tensor keeps its bits."""

    def __init__(self, source: Checkpoint, order: Callable[[Units], Order], name: str = "") -> None:
        super().__init__(source, name or f"permuted({source.name})")
        self._find = order
        self._orders: dict[str, Order] = {}
        self._lock = Lock()

    @cached_property
    def units(self) -> Sequence[Units]:
        """What can be reordered. Raises Unsupported where nothing can."""
        found = units_of(self.source)
        if not found:
            hint = "decoders with separate MLP and attention weights can be permuted"
            raise Unsupported("has no units that are known to change places", field=self.source.name, hint=hint)
        return found

    @cached_property
    def _places(self) -> Mapping[str, Sequence[tuple[Units, Member, bool]]]:
        places: dict[str, list[tuple[Units, Member, bool]]] = {}
        for units, member, inner in members(self.units):
            places.setdefault(member.name, []).append((units, member, inner))
        return places

    def order(self, units: Units) -> Order:
        """The order of one module's units, found once."""
        with self._lock:
            if units.module not in self._orders:
                self._orders[units.module] = self._find(units)
            return self._orders[units.module]

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        shape = self.spec(name).shape
        places = self._places.get(name)
        if not places or start == stop:
            self.source.read_into(name, start, stop, out)
            return
        indices = [np.arange(length) for length in shape]
        for units, member, inner in places:
            found = self.order(units)
            _place(indices[member.axis], member, found.inner if inner else found.units)
        row = 1 if len(shape) == 1 else shape[1]
        first, last = start // row, -(-stop // row)
        gathered = self._rows(name, indices[0][first:last], row, out.dtype)
        if len(shape) == 2:
            gathered = gathered[:, torch.from_numpy(indices[1])]
        out.copy_(gathered.reshape(-1)[start - first * row : stop - first * row])

    def _rows(self, name: str, rows: Int[np.ndarray, "row"], length: int, dtype: torch.dtype) -> Float[Tensor, "row n"]:
        """Rows of the source in any order; those that follow each other are read at once."""
        gathered = torch.empty(len(rows), length, dtype=dtype)
        cuts = np.flatnonzero(np.diff(rows) != 1) + 1
        for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True):
            first = int(rows[low])
            part = gathered[low:high].view(-1)
            self.source.read_into(name, first * length, (first + high - low) * length, part)
        return gathered


def _place(index: Int[np.ndarray, "entry"], member: Member, order: Int[np.ndarray, "unit"]) -> None:
    entries = member.offset + (order[:, None] * member.width + np.arange(member.width)).reshape(-1)
    index[member.offset : member.offset + len(entries)] = entries


@view(paper="2209.04836")
class Permute(Permuted):
    """`model` with its hidden units and heads in the order in which they are most like those of `to`.

    The function stays the same (but for the order of sums); merging with `to` loses less. Orders are found when a
    tensor is read. Raises Incompatible for models of different shapes.
    """

    def __init__(self, model: Checkpoint, to: Checkpoint) -> None:
        super().__init__(model, self._match, f"permute({model.name}, {to.name})")
        self.model, self.to = model, to
        faults = [
            f"{name} is {list(model.spec(name).shape)} and {list(to.spec(name).shape)}"
            for name in _shared(to, self.units)
            if model.spec(name).shape != to.spec(name).shape
        ]
        if faults:
            hint = "only models of one architecture and size can be aligned"
            raise Incompatible(listing(faults), field=f"{model.name} and {to.name}", hint=hint)

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.model, self.to)

    def _match(self, units: Units) -> Order:
        gain = similarity(self.to, self.model, units.members)
        if not units.inner:
            return Order(assign(gain), np.arange(0))
        return match_groups(gain, similarity(self.to, self.model, units.inner_members))


def _shared(to: Checkpoint, units: Sequence[Units]) -> Sequence[str]:
    """Names of the tensors that hold units. Raises Incompatible where `to` lacks one."""
    names, known = dict.fromkeys(member.name for _, member, _ in members(units)), set(to.keys())
    missing = [name for name in names if name not in known]
    if missing:
        hint = "only models of one architecture and size can be aligned"
        raise Incompatible(f"lacks {listing(missing)}", field=to.name, hint=hint)
    return list(names)


def similarity(reference: Checkpoint, model: Checkpoint, parts: Sequence[Member]) -> Float[np.ndarray, "unit unit"]:
    """Inner products of each unit of `reference` with each of `model`, over all their weights."""
    total = np.zeros((parts[0].count, parts[0].count))
    for part in parts:
        total += (by_unit(reference, part) @ by_unit(model, part).T).numpy()
    if not np.isfinite(total).all():
        hint = "use a sound copy of the model"
        raise Incompatible(f"{parts[0].name} has NaN or infinite entries", field=model.name, hint=hint)
    return total


def by_unit(ckpt: Checkpoint, part: Member) -> Float[Tensor, "unit weight"]:
    """All weights of each unit in one tensor, in float32."""
    spec = ckpt.spec(part.name)
    values = torch.empty(spec.numel)
    ckpt.read_into(part.name, 0, spec.numel, values)
    kept = values.view(spec.shape).movedim(part.axis, 0)[part.offset : part.offset + part.count * part.width]
    return kept.reshape(part.count, -1)


def match_groups(shared: Float[np.ndarray, "group group"], heads: Float[np.ndarray, "head head"]) -> Order:
    """The best order of groups and of the heads inside each: for every pair of groups its best inner order counts."""
    groups = len(shared)
    inner = len(heads) // groups
    blocks = heads.reshape(groups, inner, groups, inner).transpose(0, 2, 1, 3)
    orders = np.array([[assign(block) for block in row] for row in blocks])
    best = np.take_along_axis(blocks, orders[..., None], axis=3).sum(axis=(2, 3))
    chosen = assign(shared + best)
    inside = orders[np.arange(groups), chosen]
    return Order(chosen, (chosen[:, None] * inner + inside).reshape(-1))


def aligned_to(model: Checkpoint, reference: Checkpoint) -> Permute:
    """`model` rearranged to be as like `reference` as its function allows."""
    return Permute(model, reference)
