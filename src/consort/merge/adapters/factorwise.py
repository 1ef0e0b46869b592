"""A merge method applied to the factors of adapters, A and B separately, through the merge engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consort.core.errors import BadParameter, Incompatible, listing
from consort.merge.adapters.computed import Factors, Part
from consort.merge.engine.merged import Merged, merge
from consort.merge.registry import methods
from consort.weights.adapters.changes import Changes, LowRank
from consort.weights.adapters.files import factor_keys
from consort.weights.checkpoint import Checkpoint, Spec, whole


class Factorwise:
    """The factors, and the whole tensors, of several adapters, merged by `method`.

    A method of deltas takes them from zero, which is where factors that change nothing are; whole tensors from the
    base. A method that mixes a base with others (slerp) takes the first adapter for it. Raises Incompatible where the
    adapters differ in modules or ranks.
    """

    def __init__(
        self,
        adapters: Sequence[Checkpoint],
        changes: Sequence[Changes],
        method: Any,
        weights: Sequence[float],
        base: Checkpoint | None,
        seed: int,
    ) -> None:
        name, params = call_of(method)
        _check_ranks(adapters, changes)
        views: list[Checkpoint] = [Canonical(a, found) for a, found in zip(adapters, changes, strict=True)]
        chosen = methods.get(name)
        under: Checkpoint | None = None
        if chosen.base == "required" and chosen.on == "weights":
            under, *views = views
        elif chosen.base == "required":
            heads = {head: tied for found in changes for head, tied in found.head_of.items()}
            under = Zero(views[0], base, heads)
        if any(p.name == "weight" for p in chosen.params):
            params = {"weight": list(weights), **params}
        try:
            self._merged: Merged = merge(name, views, base=under, seed=seed, **params)
        except BadParameter as error:
            raise error.within("method") from None

    def factors(self, name: str, change: LowRank) -> Factors:
        a, b = factor_keys(name.removesuffix(".weight"), embedding=change.embedding)
        return Factors(self._merged[a].float(), self._merged[b].float())

    def replaced(self, name: str) -> Part:
        return Part(self._merged.spec(name), lambda start, stop, out: self._merged.read_into(name, start, stop, out))


class Canonical:
    """An adapter under names that do not depend on how it was saved, each factor holding the root of its scale."""

    def __init__(self, adapter: Checkpoint, changes: Changes) -> None:
        self.name, self.adapter = adapter.name, adapter
        self.config: Mapping[str, Any] = {}
        self._source: dict[str, tuple[str, float]] = {}
        for name, change in changes.low_rank.items():
            a, b = factor_keys(name.removesuffix(".weight"), embedding=change.embedding)
            root = sqrt(abs(change.scale))
            self._source |= {a: (change.a, root), b: (change.b, root if change.scale >= 0 else -root)}
        self._source |= {name: (key, 1.0) for name, key in changes.replaced.items()}

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.adapter,)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._source)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return Spec(self.adapter.spec(self._source[name][0]).shape, torch.float32)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        key, factor = self._source[name]
        self.adapter.read_into(key, start, stop, out)
        if factor != 1.0:
            out.mul_(factor)

    def files(self) -> Mapping[str, Path | bytes]:
        return {}


class Zero:
    """What factors differ from: zero. Whole tensors differ from those of `base`; `heads` are tied to its embeddings."""

    def __init__(self, like: Checkpoint, base: Checkpoint | None, heads: Mapping[str, str]) -> None:
        self.name, self.like, self.base, self.heads = "zero", like, base, heads
        self.config: Mapping[str, Any] = {}
        self._of_base = [name for name in like.keys() if ".lora_" not in name]
        if self._of_base and base is None:
            hint = "give `base: MODEL`"
            raise BadParameter(f"is needed to merge {listing(self._of_base, 3)}", field="base", hint=hint)

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return () if self.base is None else (self.base,)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return self.like.keys()

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self.like.spec(name)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if self.base is not None and name in self._of_base:
            self.base.read_into(self.heads.get(name, name), start, stop, out)
        else:
            out.zero_()

    def files(self) -> Mapping[str, Path | bytes]:
        return {}


def call_of(method: Any) -> tuple[str, dict[str, Any]]:
    """Name and parameters of `ties` or `{ties: {density: 0.3}}`."""
    if isinstance(method, str):
        return method, {}
    if isinstance(method, Mapping) and len(method) == 1:
        [(name, params)] = method.items()
        if isinstance(name, str) and isinstance(params, Mapping):
            return name, dict(params)
    raise BadParameter(f"{method!r} is no method", field="method", hint="write linear, or {ties: {density: 0.3}}")


def _check_ranks(adapters: Sequence[Checkpoint], changes: Sequence[Changes]) -> None:
    """Factors are merged entry by entry, so every adapter must have the same ones."""
    faults = []
    for name in dict.fromkeys(name for found in changes for name in found.low_rank):
        ranks = [found.low_rank[name].rank if name in found.low_rank else 0 for found in changes]
        if len(set(ranks)) > 1:
            said = ", ".join(f"{rank} in {a.name}" for rank, a in zip(ranks, adapters, strict=True))
            faults.append(f"{name} has rank {said}")
    if faults:
        raise Incompatible(listing(faults), field="models", hint="use mode exact, which merges any ranks")
