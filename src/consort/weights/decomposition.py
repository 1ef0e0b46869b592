"""One entry point for singular value decompositions: exact, by the Gram matrix, or randomised; signs fixed; kept.

Results are kept by content (the bytes of the matrix and what was asked), so that all subsets of a zoo and all methods
share them. Randomised: Halko, Martinsson and Tropp 2011 (arXiv 0909.4061), algorithms 4.4 and 5.1.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter

Way = Literal["auto", "exact", "gram", "random"]
EXACT_SIDE = 1024
"""Matrices whose smaller side is at most this are decomposed by LAPACK in float64."""
SQUARED_PRECISION = 1e-4
"""Of the largest: eigenvalues of a Gram matrix down to this have vectors true to 1e-3 in float32."""
OVERSAMPLING, POWER_ITERATIONS, PROBES = 10, 2, 8
RANDOM_TOLERANCE = 1e-2
"""Of fresh probes' length: what a randomised decomposition may leave out."""
KEPT_BYTES = 256 * 2**20


class Decomposition(NamedTuple):
    """M = u diag(s) vt, singular values falling; the largest |entry| of each column of u is positive."""

    u: Float[Tensor, "out rank"]
    s: Float[Tensor, "rank"]
    vt: Float[Tensor, "rank in"]

    def first(self, rank: int) -> Decomposition:
        """Its first `rank` directions."""
        return Decomposition(self.u[:, :rank], self.s[:rank], self.vt[:rank])

    @property
    def matrix(self) -> Float[Tensor, "out in"]:
        """u diag(s) vt."""
        return (self.u * self.s) @ self.vt


class Kept:
    """Decompositions by what they are of, the least recently used forgotten beyond a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.size = max_bytes, 0
        self.hits = 0
        self._lock = Lock()
        self._found: OrderedDict[bytes, Decomposition] = OrderedDict()

    def get(self, key: bytes) -> Decomposition | None:
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self.hits += 1
                self._found.move_to_end(key)
            return found

    def put(self, key: bytes, found: Decomposition) -> None:
        with self._lock:
            if key not in self._found:
                self._found[key] = found
                self.size += _bytes(found)
            while self.size > self.max_bytes:
                self.size -= _bytes(self._found.popitem(last=False)[1])


KEPT = Kept(KEPT_BYTES)


def decompose(
    matrix: Float[Tensor, "out in"], rank: int | None = None, *, way: Way = "auto", tolerance: float | None = None
) -> Decomposition:
    """The singular value decomposition of `matrix`, its numerical rank at most, and at most `rank` directions.

    `tolerance`: singular values below this share of the largest count as zero; the default is max(out, in) times the
    precision of the matrix's dtype. `way`: `exact` by LAPACK in float64, `gram` squares the condition number and is for
    values above 1e-7 of the largest (in float32 where the last direction wanted is above .01, else in float64),
    `random` for few directions of a large matrix, taken only where probes say that it is near; `auto` is exact up to
    `EXACT_SIDE`, beyond it random for few directions and gram for many. Raises BadParameter for a matrix that is not
    finite.
    """
    wanted = min(matrix.shape) if rank is None else min(rank, *matrix.shape)
    cut = tolerance if tolerance is not None else max(matrix.shape) * torch.finfo(matrix.dtype).eps
    chosen = _chosen(matrix, wanted) if way == "auto" else way
    key = _key(matrix, wanted, chosen, cut)
    found = KEPT.get(key)
    if found is None:
        if not bool(matrix.isfinite().all()):
            raise BadParameter("a matrix is not finite", hint="leave the model out that holds NaN or infinity")
        found = _computed(matrix, wanted, chosen, key)
        found = _signed(found.first(int((found.s > cut * found.s[:1]).sum())))
        KEPT.put(key, found)
    return found


def energy_rank(s: Float[Tensor, "rank"], share: float) -> int:
    """The least number of directions that hold `share` of the sum of squares.

    >>> energy_rank(torch.tensor([3.0, 1.0, 1.0]), 0.8)
    1
    """
    held = s.square().cumsum(0)
    return int((held < share * held[-1]).sum()) + 1 if len(s) else 0


def _chosen(matrix: Tensor, wanted: int) -> Way:
    side = min(matrix.shape)
    if side <= EXACT_SIDE:
        return "exact"
    return "random" if (wanted + OVERSAMPLING) * 4 < side else "gram"


def _computed(matrix: Tensor, wanted: int, way: Way, key: bytes) -> Decomposition:
    if way == "exact":
        return Decomposition(*torch.linalg.svd(matrix.double(), full_matrices=False)).first(wanted)
    found = _random(matrix.double(), wanted, key) if way == "random" else None
    return found or _gram(matrix, wanted)


def _gram(matrix: Tensor, wanted: int) -> Decomposition:
    """By the eigenvectors of the smaller of M M^T and M^T M."""
    if matrix.shape[0] > matrix.shape[1]:
        u, s, vt = _gram(matrix.mT, wanted)
        return Decomposition(vt.mT, s, u.mT)
    if matrix.dtype != torch.float64 and wanted < len(matrix):
        values, vectors = torch.linalg.eigh(matrix @ matrix.mT)
        if float(values[-wanted]) > SQUARED_PRECISION * float(values[-1]):
            return _of_eigenvectors(matrix, values, vectors, wanted)
    wide = matrix.double()
    values, vectors = torch.linalg.eigh(wide @ wide.mT)
    return _of_eigenvectors(wide, values, vectors, wanted)


def _of_eigenvectors(matrix: Tensor, values: Tensor, vectors: Tensor, wanted: int) -> Decomposition:
    s, u = values.flip(0)[:wanted].clamp(min=0).sqrt(), vectors.flip(1)[:, :wanted]
    kept = s > 1e-7 * s[:1]
    u, s = u[:, kept], s[kept]
    return Decomposition(u.double(), s.double(), ((u / s).mT @ matrix).double())


def _random(matrix: Tensor, rank: int, key: bytes) -> Decomposition | None:
    """None where fresh probes find more outside the range than the last direction taken holds."""
    draw = np.random.Generator(np.random.Philox(int.from_bytes(key[:8], "little")))

    def normal(columns: int) -> Tensor:
        return torch.from_numpy(draw.standard_normal((matrix.shape[1], columns)))

    basis, _ = torch.linalg.qr(matrix @ normal(rank + OVERSAMPLING))
    for _ in range(POWER_ITERATIONS):
        back, _ = torch.linalg.qr(matrix.mT @ basis)
        basis, _ = torch.linalg.qr(matrix @ back)
    u, s, vt = torch.linalg.svd(basis.mT @ matrix, full_matrices=False)
    seen = matrix @ normal(PROBES)
    left = (seen - basis @ (basis.mT @ seen)).norm() / seen.norm().clamp(min=1e-300)
    if float(left) > RANDOM_TOLERANCE:
        return None
    return Decomposition(basis @ u, s, vt)


def _signed(found: Decomposition) -> Decomposition:
    largest = found.u.abs().argmax(0) if found.u.numel() else torch.zeros(0, dtype=torch.long)
    signs = torch.where(found.u.gather(0, largest[None])[0] < 0, -1.0, 1.0) if len(largest) else found.s
    return Decomposition(found.u * signs, found.s, found.vt * signs[:, None])


def _key(matrix: Tensor, wanted: int, way: str, cut: float) -> bytes:
    asked = repr((tuple(matrix.shape), str(matrix.dtype), wanted, way, cut)).encode()
    digest = blake2b(asked, digest_size=16)
    digest.update(matrix.contiguous().numpy().data)
    return digest.digest()


def _bytes(found: Decomposition) -> int:
    return sum(part.numel() * part.element_size() for part in found)
