"""Uncertainty from the graph of likenesses between answers (Lin, Trivedi and Sun, 2305.19187)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "text text"]


def degree(matrix: Matrix) -> float:
    """U_Deg = trace(m I - D) / m^2, D the sums of rows (section 4.2): 0 where all are alike, 1 - 1/m where none are."""
    m = len(matrix)
    return float((m - matrix.sum(1)).sum() / m**2)


def eigenvalues(matrix: Matrix) -> float:
    """U_EigV = sum of max(0, 1 - l) over eigenvalues of the normalised Laplacian (eq. 5), a count of meanings."""
    root = 1 / np.sqrt(matrix.sum(1))
    laplacian = np.eye(len(matrix)) - root[:, None] * matrix * root[None, :]
    return float(np.maximum(0, 1 - np.linalg.eigvalsh(laplacian)).sum())


def eccentricity(matrix: Matrix, below: float = 0.9) -> Float[np.ndarray, " text"]:
    """How far each text lies from the centre of the embedding by eigenvectors of eigenvalues < `below` (eq. 7)."""
    root = 1 / np.sqrt(matrix.sum(1))
    values, vectors = np.linalg.eigh(np.eye(len(matrix)) - root[:, None] * matrix * root[None, :])
    kept = vectors[:, values < below]
    return np.asarray(np.linalg.norm(kept - kept.mean(0), axis=1))
