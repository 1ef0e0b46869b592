"""An adapter taken from a fine-tuned model: the truncated singular value decomposition of each linear weight's delta.

What has no low-rank form in an adapter (embeddings, norms, biases) is saved whole where it differs from the base.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from math import inf
from typing import Annotated, Any, Literal

import torch

from consort.core.errors import BadCheckpoint, BadParameter, Incompatible, Unsupported, listing
from consort.core.params import Range
from consort.merge.adapters import adapter
from consort.merge.adapters.computed import ComputedAdapter, Factors, Module, Part
from consort.merge.adapters.low_rank import principal, projected, rank_of_energy
from consort.merge.engine.memo import Memo
from consort.weights.adapters.files import PREFIX, is_adapter_config
from consort.weights.architecture.loaded import Loaded
from consort.weights.checkpoint import CHUNK, Checkpoint, ranges
from consort.weights.family import layer_of, role_of, text_config
from consort.weights.tied import ends_of
from consort.weights.views.basic import Delta

CONV1D = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}
"""Model types whose layers store linear weights input by output."""
WHOLE = re.compile(r".+\.(?:weight|bias)")


@adapter(paper="2106.09685")
class ExtractAdapter(ComputedAdapter):
    """The adapter that makes `model` of `base`, as well as its rank allows.

    `rank`: of every factor, at most the weight's own; or `energy`: the share of each delta's squared singular values
    that is kept, which chooses the rank weight by weight. `targets`: last parts of the names of the modules to take
    (all linear ones in the layers, and the head, by default); `rest`: what differs besides is saved whole, left out
    with a warning in the log, or refused. Deltas are decomposed when they are first needed: with `energy`, at once.
    Raises BadParameter, Incompatible.
    """

    def __init__(
        self,
        model: Checkpoint,
        base: Checkpoint,
        *,
        rank: Annotated[int, Range(1, inf)] | None = None,
        energy: Annotated[float, Range(0, 1)] | None = None,
        targets: Sequence[str] | None = None,
        rest: Literal["save", "leave", "refuse"] = "save",
    ) -> None:
        super().__init__(f"extract_adapter({model.name}, {base.name})", (model, base))
        self.model, self.base, self.rank, self.energy = model, base, rank, energy
        self.targets, self.rest = targets, rest
        if (rank is None) == (energy is None):
            raise BadParameter("give one of rank and energy", field="rank", hint="e.g. rank: 16, or energy: 0.9")
        for given in (model, base):
            if is_adapter_config(given.config):
                hint = "give the models themselves; an adapter becomes one over its base: {hf: ADAPTER, base: BASE}"
                raise BadParameter(f"{given.name} is an adapter", field="model", hint=hint)
        found = _loaded(base)
        self._names, self._parameters = ({}, frozenset[str]()) if found is None else _as_loaded(found)
        self._architecture = found
        if found is not None and found.joins_tensors:  # peft adapts the tensors that there are when it is loaded
            model, base = Loaded(model), found
            self._names, self._parameters = {}, _of_strange_modules(found, {name: name for name in found.keys()})
        self._model, self._base = model, base
        self._delta = Delta(model, base)
        self._fan_in_fan_out = base.config.get("model_type") in CONV1D
        self._tied_head = (ends_of(base).copy or "") if ends_of(model).tied else ""
        self._linear = [name for name in self._delta.keys() if self._is_target(name)]
        if not self._linear:
            raise BadParameter("no linear weight is called so", field="targets", hint="e.g. [q_proj, v_proj]")
        self._factors: Memo[Factors] = Memo(len(self._linear))

    @cached_property
    def modules(self) -> Sequence[Module]:
        found = [module for name in self._linear if (module := self._module(name))]
        if not found:
            hint = "there is nothing that an adapter could do"
            raise Incompatible("have equal linear weights", field=f"{self.model.name} and {self.base.name}", hint=hint)
        return found

    @cached_property
    def replaced(self) -> Mapping[str, Part]:
        keys = {self._key(name): name for name in self._saved}
        keys |= {f"{PREFIX}{self._loaded(head)}": embedding for head, embedding in self._head.items()}
        return {key: Part(self._model.spec(name), partial(self._model.read_into, name)) for key, name in keys.items()}

    @property
    def settings(self) -> Mapping[str, Any]:
        adapted = {self._loaded(name).removesuffix(".weight") for name in self._linear}
        of_modules = [self._loaded(name).rpartition(".")[0] for name in (*self._saved, *self._head)]
        return {
            "base": self.base.name,
            "fan_in_fan_out": self._fan_in_fan_out,
            "modules_to_save": sorted({module for module in of_modules if module not in adapted}) or None,
            "bias": "all" if any(module in adapted for module in of_modules) else "none",
        }

    def _is_target(self, name: str) -> bool:
        role, parts = role_of(name), name.split(".")
        shape = self._delta.spec(name).shape
        matrix = len(shape) == 2 and parts[-1] == "weight"
        if not (matrix or self._is_stack(name)) or name == self._tied_head or role in ("norm", "positions"):
            return False
        if self.targets is not None:
            return bool(self._called(name) & set(self.targets)) and role != "embedding"
        return layer_of(name) is not None or (role == "head" and not self._fan_in_fan_out)

    def _is_stack(self, name: str) -> bool:
        """Whether a tensor is a stack of experts' matrices."""
        if self._architecture is None or name not in self._parameters or len(self._delta.spec(name).shape) != 3:
            return False
        module, _, kind = self._loaded(name).rpartition(".")
        return self._architecture.is_of_its_own(module) and kind in self._architecture.parameters(module)

    def _called(self, name: str) -> set[str]:
        """What users may call the module of a weight: its name, or those on disk of the layers that it is made of."""
        parts = name.split(".")
        if parts[-1] == "weight" or self._architecture is None:
            return {parts[-2]}
        there = (source.split(".") for source in self._architecture.sources(self._loaded(name)))
        return {parts[-1], *(source[-2] for source in there if source[-1] == "weight")}

    def _module(self, name: str) -> Module | None:
        outputs, inputs = self._shape(name)
        most, experts = min(outputs, inputs), self._experts(name)
        rank = min(self.rank, most) if self.rank is not None else self._factors_of(name).a.shape[0] // experts
        if rank == 0:
            return None
        loaded = self._loaded(name)
        compute = partial(self._factors_of, name)
        if name not in self._parameters:
            return Module(loaded.removesuffix(".weight"), rank, outputs, inputs, False, compute)
        module = loaded.rpartition(".")[0]
        return Module(module, rank, outputs, inputs, False, compute, loaded, experts, self._depth(name))

    def _experts(self, name: str) -> int:
        return self._delta.spec(name).shape[0] if self._is_stack(name) else 1

    def _depth(self, name: str) -> int:
        """How many parameters of its module come after it: their wrappers are around its own."""
        module, _, kind = self._loaded(name).rpartition(".")
        order = self._architecture.parameters(module) if self._architecture is not None else [kind]
        adapted = {self._loaded(other) for other in self._linear if other in self._ranked}
        return sum(f"{module}.{later}" in adapted for later in order[order.index(kind) + 1 :])

    @cached_property
    def _ranked(self) -> frozenset[str]:
        """Weights whose factors have a rank at all; with `rank` those are all."""
        if self.rank is not None:
            return frozenset(self._linear)
        return frozenset(name for name in self._linear if self._factors_of(name).a.shape[0])

    def _loaded(self, name: str) -> str:
        """What a tensor is called when it is loaded: so peft names modules."""
        return self._names.get(name, name)

    def _shape(self, name: str) -> tuple[int, int]:
        first, second = self._delta.spec(name).shape[-2:]
        return (second, first) if self._stored_transposed(name) else (first, second)

    def _stored_transposed(self, name: str) -> bool:
        if self._is_stack(name) and self._architecture is not None:
            return self._architecture.stored_transposed(self._loaded(name).rpartition(".")[0])
        return self._fan_in_fan_out and layer_of(name) is not None

    def _factors_of(self, name: str) -> Factors:
        return self._factors(name, partial(self._compute, name))

    def _compute(self, name: str) -> Factors:
        delta = self._delta[name].float()
        if self._stored_transposed(name):
            delta = delta.mT.contiguous()
        stack = delta if delta.dim() == 3 else delta[None]
        try:
            found = [principal(matrix) for matrix in stack]
        except BadCheckpoint as error:
            raise error.within(name) from None
        rank = self.rank or max(rank_of_energy(squares, self.energy or 0.0) for squares, _ in found)
        every = [
            projected(matrix, vectors[:, : min(rank, len(squares))])
            for matrix, (squares, vectors) in zip(stack, found, strict=True)
        ]
        return every[0] if len(every) == 1 else _stacked(every)

    @cached_property
    def _saved(self) -> Sequence[str]:
        """Tensors that differ and have no factors, as `rest` wants them treated."""
        others = {*self._linear, self._tied_head}
        names = [name for name in self._model.keys() if name not in others and self._differs(name)]
        if names and self.rest == "refuse":
            hint = "rest: save keeps them whole, rest: leave keeps the base's"
            raise Incompatible(f"differ and have no low-rank form: {listing(names)}", field=self.model.name, hint=hint)
        if names and self.rest == "leave":
            logging.getLogger(__name__).warning("left as in %s: %s", self.base.name, listing(names))
            return []
        strange = [name for name in names if not WHOLE.fullmatch(name) or self._is_beside_parts(name)]
        if strange:
            hint = "an adapter saves weights and biases of modules only; rest: leave keeps the base's"
            raise Incompatible(f"cannot be saved in an adapter: {listing(strange)}", field=self.model.name, hint=hint)
        return names

    def _is_beside_parts(self, name: str) -> bool:
        """Whether a tensor lies in a module that is made of others, which peft would save as well."""
        return self._architecture is not None and self._architecture.has_parts(self._loaded(name).rpartition(".")[0])

    @cached_property
    def _head(self) -> Mapping[str, str]:
        """The head of a tied model whose embedding is saved, which peft would otherwise leave as it is."""
        config = text_config(self.base.config)
        tied = config.get("tie_word_embeddings", self.base.config.get("model_type") in CONV1D)
        embeddings = [name for name in self._saved if role_of(name) == "embedding" and layer_of(name) is None]
        if not tied or len(embeddings) != 1:
            return {}
        head = "embed_out.weight" if config.get("model_type") == "gpt_neox" else "lm_head.weight"
        return {self._tied_head or head: embeddings[0]}

    def _differs(self, name: str) -> bool:
        spec = self._model.spec(name)
        for start, stop in ranges(spec.numel, CHUNK):
            one, other = (torch.empty(stop - start, dtype=spec.dtype) for _ in range(2))
            self._model.read_into(name, start, stop, one)
            self._base.read_into(name, start, stop, other)
            if not torch.equal(one, other):
                return True
        return False

    def _key(self, name: str) -> str:
        """peft's name for a tensor kept whole: a bias beside factors is the wrapped layer's."""
        module, _, kind = self._loaded(name).rpartition(".")
        wrapped = kind == "bias" and f"{name.removesuffix('.bias')}.weight" in self._linear
        return f"{PREFIX}{module}.base_layer.{kind}" if wrapped else f"{PREFIX}{module}.{kind}"


def _loaded(base: Checkpoint) -> Loaded | None:
    """The base as transformers loads it; None for an architecture of someone's own, whose names are those on disk."""
    if base.config.get("model_type") is None:
        return None
    try:
        return Loaded(base)
    except Unsupported:
        return None


def _as_loaded(loaded: Loaded) -> tuple[Mapping[str, str], frozenset[str]]:
    """Names of a base's tensors when it is loaded, and those that are not the weights of linear layers."""
    names = loaded.names_when_loaded()
    return names, _of_strange_modules(loaded, names)


def _of_strange_modules(loaded: Loaded, names: Mapping[str, str]) -> frozenset[str]:
    """Tensors of modules that peft would not wrap as linear layers, by `names`: those when loaded."""
    # peft takes every module called like a layer of an expert for one, the dense ones as well
    taken = loaded.converted_modules()
    modules = {there: name.rpartition(".")[0] for there, name in names.items()}
    return frozenset(
        n for n, module in modules.items() if module.split(".")[-1] in taken or not loaded.is_linear(module)
    )


def _stacked(every: Sequence[Factors]) -> Factors:
    """Factors of several matrices as peft lays them out: A by expert, B by rank and then expert."""
    a = torch.cat([factors.a for factors in every])
    b = torch.stack([factors.b for factors in every], dim=-1)
    return Factors(a, b.flatten(1))
