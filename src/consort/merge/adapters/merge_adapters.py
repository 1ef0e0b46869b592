"""Several adapters over one base as one adapter.

`exact`: the ranks side by side, so that the delta is the weighted sum of the deltas (what peft calls `cat`); with
`rank` its best approximation of that rank. `factor`: a merge method applied to the factors A and B separately, each
holding the root of its scale. `core`, `knots`: a merge method applied in a basis that the adapters share, of any ranks
(see `shared_basis`). Of `factor` the rank stays, but the delta of merged factors is not the merge of the deltas: it has
the products of one adapter's A and another's B as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from math import inf
from pathlib import PurePath
from typing import Annotated, Any, Literal

import torch

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint, BadParameter, Incompatible, Unsupported, listing
from consort.core.params import PerModel, Range, bind
from consort.merge.adapters import adapter
from consort.merge.adapters.combining import combined
from consort.merge.adapters.computed import ComputedAdapter, Factors, Module, Part
from consort.merge.adapters.factorwise import Factorwise, call_of
from consort.merge.adapters.low_rank import concatenated, truncated
from consort.merge.adapters.shared_basis import Merge, merged_in_basis
from consort.merge.engine.memo import Memo
from consort.merge.registry import methods
from consort.weights.adapters.changes import Changes, LowRank, fit_changes, read_changes
from consort.weights.adapters.files import is_adapter_config
from consort.weights.adapters.peft_config import peft_config, where
from consort.weights.checkpoint import Checkpoint

KEPT = 8
"""Modules whose factors are kept, since A and B of one are written at different times."""


@adapter(paper="2106.09685", takes="adapters")
class MergeAdapters(ComputedAdapter):
    """Merges adapters of one base into one adapter.

    `weight`: of each adapter's delta (`exact`), or of what the method merges where it has weights; `mode`: see above;
    `rank`: truncate to it (not `factor`); `method`: a name or `{name: parameters}`, not of `exact`; `base`: needed
    where whole tensors are merged and the weights do not sum to 1, or to vouch for adapters that name different bases.
    Raises BadParameter, BadCheckpoint, Incompatible, Unsupported.
    """

    def __init__(
        self,
        models: Sequence[Checkpoint],
        *,
        weight: PerModel[float] = 1.0,
        mode: Literal["exact", "factor", "core", "knots"] = "exact",
        rank: Annotated[int, Range(1, inf)] | None = None,
        method: Any = "linear",
        base: Checkpoint | None = None,
        seed: Annotated[int, Range(0, inf)] = 0,
    ) -> None:
        self.models, self.weight, self.mode, self.rank = tuple(models), weight, mode, rank
        self.method, self.base, self.seed = method, base, seed
        super().__init__(
            f"merge_adapters({', '.join(m.name for m in models)})", (*models, *([] if base is None else [base]))
        )
        _check_arguments(self.models, mode, rank, method)
        self._weights = _weights(weight, len(self.models))
        self._changes = [_changes(model, base) for model in self.models]
        self._base_name = _common_base(self.models, base)
        _check_alike(self.models, self._changes)
        self._factors: Memo[Factors] = Memo(KEPT)
        self._in_basis = None if mode in ("exact", "factor") else _in_memory(method, self._weights, mode)
        self._factorwise = (
            Factorwise(self.models, self._changes, method, self._weights, base, seed) if mode == "factor" else None
        )

    @cached_property
    def modules(self) -> Sequence[Module]:
        names = dict.fromkeys(name for changes in self._changes for name in changes.low_rank)
        if not names:
            raise Incompatible("no adapter has factors", field="models", hint="merge the models they make instead")
        return [self._module(name) for name in names]

    @cached_property
    def replaced(self) -> Mapping[str, Part]:
        names = dict.fromkeys(name for changes in self._changes for name in changes.replaced)
        return dict(self._replaced(name) for name in names)

    @property
    def settings(self) -> Mapping[str, Any]:
        configs = [model.config for model in self.models]
        saved = dict.fromkeys(name for c in configs for name in c.get("modules_to_save") or [])
        biases = {c.get("bias", "none") for c in configs}
        tasks = {c.get("task_type") for c in configs}
        return {
            "base": self._base_name,
            "task_type": tasks.pop() if len(tasks) == 1 else "CAUSAL_LM",
            "fan_in_fan_out": bool(configs[0].get("fan_in_fan_out", False)),
            "modules_to_save": list(saved) or None,
            "bias": biases.pop() if len(biases) == 1 else "all",
        }

    def _having(self, name: str) -> list[tuple[Checkpoint, LowRank, float]]:
        """The adapters that change `name`, how, and with which weight."""
        every = zip(self.models, self._changes, self._weights, strict=True)
        return [(model, changes.low_rank[name], w) for model, changes, w in every if name in changes.low_rank]

    def _module(self, name: str) -> Module:
        having = self._having(name)
        model, change, _ = having[0]
        inputs, outputs = model.spec(change.a).shape[1], model.spec(change.b).shape[0]
        together = change.rank if self._factorwise else sum(found.rank for _, found, _ in having)
        rank = min(together, self.rank or together, *((inputs, outputs) if self.rank else ()))
        compute = partial(self._factors, name, partial(self._compute, name, rank))
        return Module(name.removesuffix(".weight"), rank, outputs, inputs, change.embedding, compute)

    def _compute(self, name: str, rank: int) -> Factors:
        having = self._having(name)
        if self._factorwise:
            return self._factorwise.factors(name, having[0][1])
        if self._in_basis is not None:
            return self._of_basis(name, rank, self._in_basis)
        parts = [Factors(model[change.a].float(), model[change.b].float()) for model, change, _ in having]
        whole = concatenated(parts, [weight * change.scale for _, change, weight in having])
        return truncated(whole, rank) if rank < len(whole.a) else whole

    def _of_basis(self, name: str, rank: int, merge: Merge) -> Factors:
        """Of all adapters: one that does not change the module counts with a delta of zero."""
        _, like, _ = having = self._having(name)[0]
        inputs, outputs = having[0].spec(like.a).shape[1], having[0].spec(like.b).shape[0]
        parts = []
        for model, changes in zip(self.models, self._changes, strict=True):
            change = changes.low_rank.get(name)
            if change is None:
                parts.append(Factors(torch.zeros(0, inputs), torch.zeros(outputs, 0)))
            else:
                parts.append(Factors(model[change.a].float(), model[change.b].float() * change.scale))
        whole = merged_in_basis(parts, rank, merge, mode=self.mode)
        return truncated(whole, rank) if rank < len(whole.a) else whole

    def _replaced(self, name: str) -> tuple[str, Part]:
        every = list(zip(self.models, self._changes, self._weights, strict=True))
        having = [(model, changes.replaced[name], w) for model, changes, w in every if name in changes.replaced]
        key = having[0][1].replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")
        if self._factorwise:
            return key, self._factorwise.replaced(name)
        in_base = next((c.head_of[name] for c in self._changes if name in c.head_of), name)
        return key, combined(in_base, having, self.base, copy=".base_layer." in key and not name.endswith(".bias"))


def _check_arguments(models: Sequence[Checkpoint], mode: str, rank: int | None, method: Any) -> None:
    for model in models:
        if not is_adapter_config(model.config):
            hint = "give adapter folders; extract_adapter makes an adapter of a fine-tuned model"
            raise BadParameter(f"{model.name} is a model, not an adapter", field="models", hint=hint)
        peft_config(model)
    if not models:
        raise BadParameter("there is no adapter to merge", field="models", hint="models: [a, b]")
    if mode == "factor" and rank is not None:
        raise BadParameter("is kept by mode factor", field="rank", hint="leave it out, or use mode exact")
    if mode == "exact" and method != "linear":
        hint = "add `mode: core` (or knots, or factor), or leave it out"
        raise BadParameter("acts on factors or in a shared basis", field="method", hint=hint)


def _in_memory(method: Any, weights: Sequence[float], mode: str) -> Merge:
    """The method as a function of stacked matrices. Raises BadParameter for one that is not of deltas, or draws."""
    name, params = call_of(method if method != "linear" else "task_arithmetic")
    chosen = methods.get(name)
    if chosen.on != "deltas" or chosen.random or chosen.statistics:
        why = "draws entry by entry" if chosen.random else "is not a method of deltas"
        raise BadParameter(f"{name} {why}", field="method", hint=f"mode {mode} takes task_arithmetic, ties, tsv_m, …")
    given = {"weight": list(weights), **params} if any(p.name == "weight" for p in chosen.params) else dict(params)
    names = {p.plan_name: p.name for p in chosen.params}
    given = {names.get(key, key): value for key, value in given.items()}
    try:
        chosen.refuse(bind(name, chosen.params, given, len(weights)))
    except BadParameter as error:
        raise error.within("method") from None
    return partial(chosen, **given)


def _weights(weight: float | Sequence[float], count: int) -> list[float]:
    weights = list(weight) if isinstance(weight, Sequence) else [weight] * count
    if len(weights) != count:
        raise BadParameter(
            f"{counted(len(weights), 'value')} for {counted(count, 'adapter')}",
            field="weight",
            hint="one for all, or each",
        )
    return [float(w) for w in weights]


def _changes(model: Checkpoint, base: Checkpoint | None) -> Changes:
    changes = read_changes(model)
    normed = [name for name, change in changes.low_rank.items() if change.norm]
    if normed:
        hint = "lay it over its base and extract: extract_adapter: {model: {hf: ADAPTER, base: B}, base: B, rank: r}"
        raise Unsupported("DoRA's delta is not of low rank", field=model.name, hint=hint)
    return changes if base is None else fit_changes(base, model, changes)


def _common_base(models: Sequence[Checkpoint], base: Checkpoint | None) -> str | None:
    """The base that all adapters name; a `base` that was given stands for whatever they say."""
    names = [model.config.get("base_model_name_or_path") for model in models]
    if base is not None:
        return next((name for name in names if isinstance(name, str) and name), base.name)
    for model, name in zip(models, names, strict=True):
        if not isinstance(name, str) or not name:
            hint = "give the base of all adapters: `base: MODEL`"
            raise BadCheckpoint("names no base", field=f"{where(model)}: base_model_name_or_path", hint=hint)
    if len({PurePath(str(name)).name.lower() for name in names}) > 1:
        said = listing(f"{model.name} is over {name}" for model, name in zip(models, names, strict=True))
        hint = "adapters add up over one base; if these are one and the same, give it: `base: MODEL`"
        raise Incompatible(said, field="models", hint=hint)
    return str(names[0])


def _check_alike(models: Sequence[Checkpoint], changes: Sequence[Changes]) -> None:
    """Refuse adapters whose factors or whole tensors are of other shapes, all faults at once."""
    if len({bool(model.config.get("fan_in_fan_out", False)) for model in models}) > 1:
        raise Incompatible("fan_in_fan_out differs", field="models", hint="adapters of one architecture")
    shapes: dict[str, dict[tuple[Any, ...], str]] = {}
    for model, found in zip(models, changes, strict=True):
        for name, change in found.low_rank.items():
            shape = (change.embedding, *model.spec(change.b).shape[:1], *model.spec(change.a).shape[1:])
            shapes.setdefault(name, {}).setdefault(shape, model.name)
        for name, key in found.replaced.items():
            shapes.setdefault(f"{name} (whole)", {}).setdefault(model.spec(key).shape, model.name)
    faults = [
        f"{name}: " + ", ".join(f"{[int(n) for n in shape]} in {who}" for shape, who in said.items())
        for name, said in shapes.items()
        if len(said) > 1
    ]
    if faults:
        raise Incompatible(listing(faults), field="models", hint="adapters of one base have equal shapes")
    _check_together(models, changes)


def _check_together(models: Sequence[Checkpoint], changes: Sequence[Changes]) -> None:
    """A weight that one adapter replaces and another changes by factors has no one low-rank form."""
    low_rank = {name for found in changes for name in found.low_rank}
    for model, found in zip(models, changes, strict=True):
        for name in found.replaced:
            if name in low_rank and name not in found.low_rank:
                hint = "merge the models that the adapters make instead"
                raise Incompatible(f"{model.name} replaces {name}, another adapter changes it", hint=hint)
