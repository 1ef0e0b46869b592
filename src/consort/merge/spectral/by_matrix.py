"""What spectral methods share: they work on one linear map at a time; what is no linear map is averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from consort.merge.arithmetic.votes import per_model, weighted_total
from consort.weights.decomposition import Decomposition, decompose, energy_rank
from consort.weights.matrices import Matrices

OfMatrix = Callable[[Float[Tensor, "model out in"]], Float[Tensor, "out in"]]


def by_matrix(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    merged: OfMatrix,
    *,
    weight: float | Sequence[float],
    vector: str,
    embedding: str,
    lambda_: float,
) -> Float[Tensor, "*shape"]:
    """λ times what `merged` makes of each linear map, in float64; λ times the mean (`vector`) of all else.

    `vector`: `mean` Σ w_i d_i / N, `sum` Σ w_i d_i, `zero`; `embedding`: `mean`, or `spectral` like any matrix.
    A map that no model changed stays as it is, and is not handed to `merged`.
    """
    spectral = matrices.kind == "matrix" or (matrices.kind == "embedding" and embedding == "spectral")
    if not spectral or not deltas.numel():
        share = {"mean": 1 / len(deltas), "sum": 1.0, "zero": 0.0}[vector if matrices.kind == "vector" else "mean"]
        found = weighted_total(deltas, per_model(weight, len(deltas)))
        return found * (share * lambda_)
    parts = [[_one(stack, merged) for stack in expert] for expert in matrices.split(deltas)]
    joined = matrices.join(parts, deltas.shape[1:])
    return (joined * lambda_).to(deltas.dtype)


def _one(stack: Float[Tensor, "model out in"], merged: OfMatrix) -> Float[Tensor, "out in"]:
    wide = stack.double()
    if not bool(stack.any()) or not bool(stack.isfinite().all()):
        return wide.sum(0)  # nothing learned, or NaN, which the engine passes on
    return merged(wide)


def directions(
    stack: Float[Tensor, "model out in"],
    *,
    rank: int | None,
    share: float | None = None,
    energy: float | None = None,
) -> list[Decomposition]:
    """The first directions of each model that changed the map.

    As many as `rank`, or a `share` of the smaller side, or those that hold the share `energy` of the squares; without
    any of them the smaller side divided by the number of models, one at least.
    """
    side = min(stack.shape[1:])
    count = rank or (max(1, int(share * side)) if share is not None else max(1, side // len(stack)))
    found = []
    for delta in stack:
        if not bool(delta.any()):
            continue
        whole = decompose(delta.float(), None if energy is not None else count)
        found.append(whole.first(energy_rank(whole.s, energy)) if energy is not None else whole)
    return found


def weighted(stack: Float[Tensor, "model out in"], weight: float | Sequence[float]) -> Float[Tensor, "model out in"]:
    """w_i D_i."""
    return stack * per_model(weight, len(stack)).to(stack.dtype)[:, None, None]


def weights_of_changed(stack: Float[Tensor, "model out in"], weight: float | Sequence[float]) -> list[float]:
    """The weights of the models that changed the map, in the order of `directions`."""
    values = per_model(weight, len(stack)).tolist()
    return [w for w, delta in zip(values, stack, strict=True) if bool(torch.any(delta))]
