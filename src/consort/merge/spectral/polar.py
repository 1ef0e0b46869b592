"""The truncated polar factor: the nearest matrix with orthonormal directions, on the directions there are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from consort.weights.decomposition import EXACT_SIDE

PRECISION = float(torch.finfo(torch.float32).eps)
"""Of the vectors that come in: they are told from float32 differences."""
LEAST_SINGLE = 1e-2
"""Of the mean eigenvalue of a Gram matrix: where none is below it, float32 is true to 1e-5."""


def polar(matrix: Float[Tensor, "rows columns"], *, tolerance: float | None = None) -> Float[Tensor, "rows columns"]:
    """U V^T over the singular values above `tolerance` times the largest, = (M M^T)^{+1/2} M, in float64.

    The thin decomposition of a matrix of lower rank would add arbitrary directions of full weight. Of large matrices
    it is M times the inverse square root of their Gram matrix: many times as fast as a decomposition of them.
    """
    if matrix.shape[0] < matrix.shape[1]:
        turned: Tensor = polar(matrix.mT, tolerance=tolerance).mT
        return turned
    cut = max(matrix.shape) * PRECISION if tolerance is None else tolerance
    if min(matrix.shape) > EXACT_SIDE:
        return _by_gram(matrix, cut)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    kept = s > cut * s[:1]
    found: Tensor = u[:, kept] @ vt[kept]
    return found


def _by_gram(matrix: Tensor, cut: float) -> Tensor:
    """M (M^T M)^{-1/2}, in float32 where a Cholesky factor shows that no eigenvalue is small."""
    columns = matrix.float()
    gram = columns.mT @ columns
    least = LEAST_SINGLE * gram.diagonal().mean()
    if int(torch.linalg.cholesky_ex(gram - least * torch.eye(len(gram))).info):
        columns = matrix.double()
        gram = columns.mT @ columns
    values, vectors = torch.linalg.eigh(gram)
    kept = values > cut**2 * values[-1:]
    v = vectors[:, kept]
    found: Tensor = ((columns @ v / values[kept].sqrt()) @ v.mT).to(matrix.dtype)
    return found
