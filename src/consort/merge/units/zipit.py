"""ZipIt (Stoica et al. 2023, arXiv 2305.03053) for the MLPs of two decoders of one shape.

Hidden units are paired by correlation, across the models and inside each; a pair becomes one unit. What reads and what
writes it is averaged: M = ½ [P_a P_b] before the units, U = 2 M^T after them (eq. 3 and 4), and the residual stream,
matched by the identity, halves both models' outputs. Attention, embeddings and norms are plain means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from threading import RLock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.core.errors import BadParameter, Unsupported
from consort.merge.collect.run import GROUP_BYTES, MAX_TOKENS, at_work, read_texts
from consort.merge.engine.memo import Memo
from consort.merge.engine.merged import merge
from consort.merge.units import matched
from consort.weights.checkpoint import Checkpoint, round_into
from consort.weights.views.assignment import assign
from consort.weights.views.basic import View
from consort.weights.views.permute import by_unit
from consort.weights.views.units import Member, Units, units_of

Pairs = Int[np.ndarray, "pair 2"]
"""Two units each, numbered through both models: the second model's come after the first's."""


@matched(paper="2305.03053")
class Zipit(View):
    """Two models of one shape as one, their MLP units paired by likeness before they are averaged.

    `texts`: a JSONL file of `{"text": ...}` lines on which units are compared by their activations (the first model's
    tokenizer reads them); without it, by their weights. `within`: units of one model may pair with each other too.
    Pairs are found when a tensor is read. Raises BadParameter, BadData, Incompatible, Unsupported.
    """

    def __init__(self, models: Sequence[Checkpoint], *, texts: str | None = None, within: bool = True) -> None:
        self.models, self.texts, self.within = tuple(models), texts, within
        if len(self.models) != 2:
            raise BadParameter(f"zipit merges 2 models, not {len(models)}", field="models", hint="nest calls for more")
        self._rows = None if texts is None else read_texts(texts)
        super().__init__(merge("linear", self.models), f"zipit({', '.join(m.name for m in models)})")
        self.units = [units for units in units_of(self.models[0]) if not units.inner]
        if not self.units:
            hint = "decoders with separate MLP weights can be zipped"
            raise Unsupported("has no MLP units that are known", field=self.models[0].name, hint=hint)
        self._found: dict[str, Pairs] = {}
        self._lock = RLock()
        self._once: Memo[Tensor] = Memo(2)

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return self.models

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name in self._places:
            whole = self._once(name, lambda: self._zipped(name))
            round_into(whole.view(-1)[start:stop], out)
        else:
            self.source.read_into(name, start, stop, out)

    def pairs(self, units: Units) -> Pairs:
        """The pairs of one MLP's units, one for each unit of the result."""
        with self._lock:
            if units.module not in self._found:
                self._found |= self._paired(units)
            return self._found[units.module]

    @cached_property
    def _places(self) -> Mapping[str, Sequence[tuple[Units, Member]]]:
        places: dict[str, list[tuple[Units, Member]]] = {}
        for units in self.units:
            for member in units.members:
                places.setdefault(member.name, []).append((units, member))
        return places

    def _zipped(self, name: str) -> Tensor:
        result = torch.empty(self.spec(name).shape)
        both = [_float32(model, name) for model in self.models]
        for units, member in self._places[name]:
            parts = [whole.narrow(member.axis, member.offset, member.count) for whole in both]
            one, other = (torch.from_numpy(column) for column in self.pairs(units).T)
            joined = torch.cat(parts, member.axis)
            mean = (joined.index_select(member.axis, one) + joined.index_select(member.axis, other)) / 2
            result.narrow(member.axis, member.offset, member.count).copy_(mean)
        return result

    def _paired(self, units: Units) -> dict[str, Pairs]:
        """The pairs of `units` and, with texts, of as many modules after it as memory lets one pass serve."""
        if self._rows is None:
            return {units.module: paired(cosines(self.models, units), self.within)}
        left = self.units[self.units.index(units) :]
        together = left[: max(1, GROUP_BYTES // (8 * (2 * units.count) ** 2))]
        found = correlations(self._at_work, together, self._tokens)
        return {module: paired(likeness, self.within) for module, likeness in found.items()}

    @cached_property
    def _at_work(self) -> list[Any]:
        return [at_work(model, None) for model in self.models]

    @cached_property
    def _tokens(self) -> list[Tensor]:
        first = self._at_work[0]
        longest = min(MAX_TOKENS, first.window or MAX_TOKENS)
        encoded = (first.tokenizer.encode(text)[:longest] for text in self._rows or ())
        return [torch.tensor([ids], device=first.device) for ids in encoded if ids]


def paired(likeness: Float[np.ndarray, "unit unit"], within: bool) -> Pairs:
    """Pairs by falling likeness, each unit in one; without `within` the best pairs across the models in sum."""
    count = len(likeness) // 2
    if not within:
        return np.stack((np.arange(count), count + assign(likeness[:count, count:])), axis=1)
    left = likeness.copy()
    np.fill_diagonal(left, -np.inf)
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        best = left.argmax(axis=1)
        value = left[np.arange(len(best)), best]
        mutual = (best[best] == np.arange(len(best))) & (np.arange(len(best)) < best) & (value > -np.inf)
        new = [(int(i), int(best[i])) for i in np.flatnonzero(mutual)]
        if not new:  # equal values in a circle
            new = [(int(value.argmax()), int(best[value.argmax()]))]
        pairs += new
        used = np.array(new).reshape(-1)
        left[used], left[:, used] = -np.inf, -np.inf
    return np.array(sorted(tuple(sorted(pair)) for pair in pairs))


def cosines(models: Sequence[Checkpoint], units: Units) -> Float[np.ndarray, "unit unit"]:
    """Cosines between the weights of all units of both models, taken together over the tensors they lie in."""
    total = np.zeros((2 * units.count, 2 * units.count))
    for member in units.members:
        rows = torch.cat([by_unit(model, member) for model in models])
        total += (rows @ rows.T).numpy()
    return _scaled(total)


def correlations(
    models: Sequence[Any], units: Sequence[Units], rows: Sequence[Tensor]
) -> dict[str, Float[np.ndarray, "unit unit"]]:
    """Correlations of the activations of all units of both models over the tokens of `rows`, by module."""
    seen: dict[str, list[Tensor]] = {one.module: [] for one in units}
    sizes = {one.module: 2 * one.count for one in units}
    products = {module: torch.zeros(n, n, dtype=torch.float64) for module, n in sizes.items()}
    means = {module: torch.zeros(n, dtype=torch.float64) for module, n in sizes.items()}
    handles = [_watch(model.module, one, seen[one.module]) for one in units for model in models]
    try:
        for row in rows:
            with torch.no_grad():
                for model in models:
                    model.module(input_ids=row)
            for module, parts in seen.items():
                x = torch.cat(parts, 1)
                products[module] += (x.T @ x).double()
                means[module] += x.sum(0).double()
                parts.clear()
    finally:
        for handle in handles:
            handle.remove()
    tokens = max(1, sum(row.numel() for row in rows))
    return {
        module: _scaled((product / tokens - torch.outer(means[module], means[module]) / tokens**2).numpy())
        for module, product in products.items()
    }


def _watch(module: Any, units: Units, into: list[Tensor]) -> Any:
    """The activations of the units are what the module that writes to the residual stream is given."""
    writer = module.get_submodule(units.members[0].name.removesuffix(".weight"))
    return writer.register_forward_pre_hook(
        lambda _, given: into.append(given[0].detach().flatten(0, -2).float().cpu())
    )


def _scaled(products: Float[np.ndarray, "unit unit"]) -> Float[np.ndarray, "unit unit"]:
    """Cosines from inner products; 0 with a unit that is zero."""
    norms = np.sqrt(np.maximum(np.diag(products), 0))
    sizes = np.outer(norms, norms)
    cosine: Float[np.ndarray, "unit unit"] = np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0)
    return cosine


def _float32(model: Checkpoint, name: str) -> Tensor:
    spec = model.spec(name)
    whole = torch.empty(spec.numel)
    model.read_into(name, 0, spec.numel, whole)
    return whole.view(spec.shape)
