"""Least squares where each delta stands for the inputs it was trained on: their covariance is taken to be D^T D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

CUT = 1e-10
"""Eigenvalues below this share of the largest count as zero."""


def row_space(deltas: Sequence[Float[Tensor, "out in"]]) -> Float[Tensor, "in rank"]:
    """An orthonormal basis that holds all rows; where they are not fewer than the columns, the unit vectors."""
    rows = torch.cat(list(deltas))
    if rows.shape[0] >= rows.shape[1]:
        return torch.eye(rows.shape[1], dtype=rows.dtype)
    basis: Tensor = torch.linalg.qr(rows.mT)[0]
    return basis


def by_covariances(deltas: Sequence[Float[Tensor, "out in"]], weights: Sequence[float]) -> Float[Tensor, "out in"]:
    """(Σ w_i D_i D_i^T D_i) (Σ w_i D_i^T D_i)^+, computed in the space of the rows."""
    basis = row_space(deltas)
    side = basis.shape[1]
    covariance, crossed = deltas[0].new_zeros(side, side), deltas[0].new_zeros(deltas[0].shape[0], side)
    for delta, weight in zip(deltas, weights, strict=True):
        narrow = delta @ basis
        gram = narrow.mT @ narrow
        covariance += weight * gram
        crossed += weight * (narrow @ gram)
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > CUT * values[-1:]
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].mT
    found: Tensor = crossed @ inverse @ basis.mT
    return found
