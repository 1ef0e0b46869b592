"""The truncated polar factor: the nearest matrix with orthonormal directions, on the directions there are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from consort.weights.decomposition import EXACT_SIDE

PRECISION = float(torch.finfo(torch.float32).eps)
"""Of the vectors that come in: they are told from float32 differences."""


def polar(matrix: Float[Tensor, "rows columns"], *, tolerance: float | None = None) -> Float[Tensor, "rows columns"]:
    """U V^T over the singular values above `tolerance` times the largest, = (M M^T)^{+1/2} M.

    The thin decomposition of a matrix of lower rank would add arbitrary directions of full weight. A tall or wide
    matrix is brought to its square factor first.
    """
    if matrix.shape[0] > matrix.shape[1] > 0:
        q, r = torch.linalg.qr(matrix)
        factor: Tensor = q @ polar(r, tolerance=tolerance or max(matrix.shape) * PRECISION)
        return factor
    cut = max(matrix.shape) * PRECISION if tolerance is None else tolerance
    single = min(matrix.shape) > 4 * EXACT_SIDE
    u, s, vt = torch.linalg.svd(matrix.float() if single else matrix, full_matrices=False)
    kept = s > cut * s[:1]
    found: Tensor = (u[:, kept] @ vt[kept]).to(matrix.dtype)
    return found
