"""A merge through which gradients flow: weights as a function of coefficients, one model's memory at a time.

θ_l = base_l + Σ_t λ_{t,l} d_{t,l}, and dL/dλ_{t,l} = <dL/dθ_l, d_{t,l}>: the backward pass needs the deltas again, but
no graph over them. They are kept in memory while they fit and read from the checkpoints each time where they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.core.errors import Incompatible, listing
from consort.weights.checkpoint import Checkpoint

KEPT_BYTES = 4 << 30
"""Deltas in float32 up to this size stay in memory."""


class Deltas:
    """What each model adds to a base, tensor by tensor, in float32; without a base the models' weights themselves.

    `names` are the floating tensors. Raises Incompatible unless all have the same ones.
    """

    def __init__(self, models: Sequence[Checkpoint], base: Checkpoint | None, kept_bytes: int = KEPT_BYTES) -> None:
        self.models, self.base = tuple(models), base
        first = self.models[0]
        self.names = [name for name in first.keys() if first.spec(name).dtype.is_floating_point]
        self._check()
        size = 4 * sum(prod(first.spec(name).shape) for name in self.names) * (len(self.models) + (base is not None))
        self._kept: dict[tuple[int, str], Tensor] | None = {} if size <= kept_bytes else None

    def _check(self) -> None:
        wanted = {name: self.models[0].spec(name).shape for name in self.names}
        for other in (*self.models[1:], *(() if self.base is None else (self.base,))):
            has = {name: other.spec(name).shape for name in other.keys() if other.spec(name).dtype.is_floating_point}
            strange = sorted(name for name in {**wanted, **has} if wanted.get(name) != has.get(name))
            if strange:
                hint = "train merges of models of one architecture, vocabulary and set of tensors"
                raise Incompatible(
                    f"{listing(strange, 3)} differ from {self.models[0].name}", field=other.name, hint=hint
                )

    def of_base(self, name: str) -> Tensor:
        """A tensor of the base; zeros without one."""
        if self.base is None:
            return torch.zeros(self.models[0].spec(name).shape)
        return self._read(-1, self.base, name)

    def __call__(self, model: int, name: str) -> Tensor:
        own = self._read(model, self.models[model], name)
        return own if self.base is None else own - self.of_base(name)

    def weighed(self, name: str, amounts: Sequence[float]) -> Tensor:
        """Σ over models of amount times delta, without the base."""
        total = torch.zeros(self.models[0].spec(name).shape)
        for model, amount in enumerate(amounts):
            total.add_(self(model, name), alpha=float(amount))
        return total

    def _read(self, index: int, source: Checkpoint, name: str) -> Tensor:
        if self._kept is not None and (index, name) in self._kept:
            return self._kept[index, name]
        spec = source.spec(name)
        whole = torch.empty(spec.numel)
        source.read_into(name, 0, spec.numel, whole)
        if self._kept is not None:
            self._kept[index, name] = whole.view(spec.shape)
        return whole.view(spec.shape)


class _Weigh(torch.autograd.Function):
    """base + Σ_t λ_t d_t of one tensor; what is kept for the way back is its name."""

    @staticmethod
    def forward(ctx: Any, amounts: Tensor, deltas: Deltas, name: str) -> Tensor:
        ctx.deltas, ctx.name = deltas, name
        return deltas.weighed(name, amounts.tolist()).add_(deltas.of_base(name))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (above,) = gradients
        slopes = [float((above * ctx.deltas(t, ctx.name)).sum()) for t in range(len(ctx.deltas.models))]
        return torch.tensor(slopes), None, None


class Coefficients(nn.Module):
    """λ: one for each model (`whole`), or one for each tensor and model."""

    def __init__(self, start: Float[Tensor, "tensor model"]) -> None:
        super().__init__()
        self.amounts = nn.Parameter(start.clone().float())

    def row(self, index: int) -> Float[Tensor, "model"]:
        """The coefficients of tensor number `index`."""
        return self.amounts[index if len(self.amounts) > 1 else 0]


def weighed(deltas: Deltas, rows: Sequence[Float[Tensor, "model"]]) -> dict[str, Tensor]:
    """The merged tensors; `rows` has the coefficients of each, in the order of `deltas.names`."""
    return {
        name: _Weigh.apply(row, deltas, name)  # type: ignore[no-untyped-call]
        for name, row in zip(deltas.names, rows, strict=True)
    }
