"""What a point of a search stands for: weights poured into a live model, adapters mixed row by row, or any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import Incompatible
from consort.models.hf.lean_pass import NotLean
from consort.models.hf.loading import load_model
from consort.models.hf.model import HFModel
from consort.search.engine.domain import Domain
from consort.search.packed.lora import Form, PackedLora
from consort.weights.adapters.changes import fit_changes, read_changes
from consort.weights.adapters.peft_config import where
from consort.weights.checkpoint import Checkpoint


class Evaluated(Protocol):
    """A space as the engine asks it for models. `key` names the basis: equal keys and points give equal models."""

    domain: Domain
    key: str

    def model(self, point: Sequence[float]) -> Any:
        """The model at `point`, good until the next call. Raises ConsortError where there is none."""


class Refilled:
    """Points that are checkpoints: one live model whose weights are refilled, rounded as they would be saved."""

    def __init__(self, domain: Domain, key: str, at: Callable[[Sequence[float]], Checkpoint]) -> None:
        self.domain, self.key, self.at = domain, key, at
        self._live: HFModel | None = None
        self._form: Any = None

    def model(self, point: Sequence[float]) -> HFModel:
        """The live model with the weights of `point`, good until the next call."""
        checkpoint = self.at(point)
        form = [(n, checkpoint.spec(n).shape) for n in checkpoint.keys()], dict(checkpoint.config), checkpoint.files()
        if self._live is None or form != self._form:
            self._live, self._form = load_model(checkpoint), form
        else:
            self._live.load_weights(checkpoint)
        return self._live


class Built:
    """Points that are models, built anew for each; what they are made of is shared (a token swarm, a strategy)."""

    def __init__(self, domain: Domain, key: str, at: Callable[[Sequence[float]], Any]) -> None:
        self.domain, self.key, self.at = domain, key, at

    def model(self, point: Sequence[float]) -> Any:
        """A new model for `point`."""
        return self.at(point)


class Packed:
    """Points that are mixtures of adapters over one base, all evaluated in one forward pass.

    The last len(adapters) coordinates are theirs; one before them, the base's, changes nothing, since its delta is 0.
    Where the base or an adapter is of a kind that cannot be packed, `pack` is 1 and models come from `fallback`.
    """

    def __init__(
        self,
        domain: Domain,
        key: str,
        base: HFModel,
        adapters: Sequence[Checkpoint],
        *,
        under: Checkpoint,
        form: Form = "exact",
        pack: int = 16,
        fallback: Evaluated | None = None,
    ) -> None:
        self.domain, self.key, self.pack, self.fallback = domain, key, pack, fallback
        changes = [fit_changes(under, adapter, read_changes(adapter)) for adapter in adapters]
        if form == "factor":
            check_alike(adapters)
        self.lora: PackedLora | None = None
        try:
            self.lora = PackedLora(base, adapters, changes, form)
        except NotLean as reason:
            if fallback is None:
                hint = "give a fallback that materialises"
                raise Incompatible(f"cannot be packed: {reason}", field=base.name, hint=hint) from None
            self.pack = 1

    def packed(self, points: Sequence[Sequence[float]]) -> PackedLora | None:
        """The mixtures at `points`, as particles 0, 1, …; good until the next call. None if they cannot be packed."""
        if self.lora is not None:
            given = torch.tensor([list(p) for p in points], dtype=torch.float64)
            self.lora.assign(given[:, -self.lora.count :])
        return self.lora

    def model(self, point: Sequence[float]) -> Any:
        if self.lora is None and self.fallback is not None:
            return self.fallback.model(point)
        packed = self.packed([point])
        return packed.of(0) if packed else None


def check_alike(adapters: Sequence[Checkpoint]) -> None:
    """Refuse adapters whose factors cannot be added one by one, naming the field that differs."""
    first = adapters[0].config
    for adapter in adapters[1:]:
        for key in ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora"):
            one, other = (_plain(config.get(key)) for config in (first, adapter.config))
            if one != other:
                hint = "use the exact form, which takes any ranks"
                raise Incompatible(
                    f"is {other}, in {adapters[0].name} {one}", field=f"{where(adapter)}: {key}", hint=hint
                )


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value or None


def materialised(experts: Float[Tensor, "expert *shape"], c: Sequence[float]) -> Float[Tensor, "*shape"]:
    """sum_i c_i E_i in float32, as the space of full weights defines it (the reference for tests)."""
    mixed: Tensor = torch.tensordot(torch.tensor(list(c), dtype=torch.float32), experts.float(), dims=1)
    return mixed
