"""Low-rank factors of a sum of low-rank deltas, and of a whole delta. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadCheckpoint
from consort.merge.adapters.computed import Factors
from consort.weights.checkpoint import ranges

COLUMNS = 1 << 20
"""Entries of a delta that are widened to float64 at once."""


def concatenated(parts: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """sum_i w_i B_i A_i exactly: the ranks side by side, [w_1 B_1, w_2 B_2, ...] @ [A_1; A_2; ...]."""
    a = torch.cat([part.a for part in parts], dim=0)
    b = torch.cat([weight * part.b for part, weight in zip(parts, weights, strict=True)], dim=1)
    return Factors(a, b)


def truncated(factors: Factors, rank: int) -> Factors:
    """The best factors of `rank` for B @ A (Eckart and Young), without ever forming B @ A.

    B = Q_B R_B and A^T = Q_A R_A, so the singular values of B A are those of the small R_B R_A^T.
    """
    q_b, r_b = torch.linalg.qr(factors.b.double())
    q_a, r_a = torch.linalg.qr(factors.a.double().T)
    u, s, vh = torch.linalg.svd(r_b @ r_a.T)
    root = s[:rank].sqrt()
    b = (q_b @ u[:, : len(root)]) * root
    a = (root.unsqueeze(1) * vh[: len(root)]) @ q_a.T
    return Factors(*_signed(a, b))


def principal(delta: Float[Tensor, "outputs inputs"]) -> tuple[Float[Tensor, " side"], Float[Tensor, "side side"]]:
    """Squared singular values, descending, and singular vectors of the shorter side, in float64.

    They are the eigenvectors of its Gram matrix: precise to half the digits of float64, more than float32 has.
    """
    side = delta if delta.shape[0] <= delta.shape[1] else delta.T
    gram = torch.zeros(side.shape[0], side.shape[0], dtype=torch.float64)
    for start, stop in ranges(side.shape[1], max(1, COLUMNS // max(1, side.shape[0]))):
        wide = side[:, start:stop].double()
        gram.addmm_(wide, wide.T)
    if not bool(gram.isfinite().all()):
        raise BadCheckpoint("the delta has NaN or infinite entries", hint="use a sound copy of the model and its base")
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0).clamp_min(0), vectors.flip(1)


def projected(delta: Float[Tensor, "outputs inputs"], vectors: Float[Tensor, "side rank"]) -> Factors:
    """`delta` projected on orthonormal `vectors` of its shorter side; each factor gets the root of their product."""
    vectors = vectors.float()
    if delta.shape[0] <= delta.shape[1]:
        a = vectors.T @ delta
        size = torch.linalg.vector_norm(a, dim=1)
        return Factors(*_signed(a * _inverse_root(size).unsqueeze(1), vectors * size.sqrt()))
    b = delta @ vectors
    size = torch.linalg.vector_norm(b, dim=0)
    return Factors(*_signed(size.sqrt().unsqueeze(1) * vectors.T, b * _inverse_root(size)))


def rank_of_energy(squares: Float[Tensor, " side"], energy: float) -> int:
    """The least rank whose squared singular values make up the share `energy` of all; 0 for a delta of zero."""
    total = squares.cumsum(0)
    if len(total) == 0 or total[-1] == 0:
        return 0
    return min(len(squares), 1 + int((total < energy * total[-1] * (1 - 1e-12)).sum()))


def _inverse_root(size: Tensor) -> Tensor:
    return torch.where(size > 0, size.rsqrt(), 0.0)


def _signed(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The largest entry of each column of B positive: a decomposition leaves the sign open."""
    largest = b.gather(0, b.abs().argmax(0, keepdim=True))[0]
    sign = torch.where(largest < 0, -1.0, 1.0).to(b.dtype)
    return (sign.unsqueeze(1) * a).float().contiguous(), (b * sign).float().contiguous()
