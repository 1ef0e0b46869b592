"""Adapters of any ranks merged in a basis that they share, without ever forming their deltas.

`core` (Core Space, arXiv 2509.17786): M_i = U_B^T (s_i B_i A_i) V_A^T, U_B and V_A bases of all outputs and inputs;
any method merges the small M_i. `knots` (KnOTS, arXiv 2410.19735): [D_1 .. D_N] = U S [V_1 .. V_N], the method
merges the S V_i. The scale alpha / r of each adapter is inside, which both released programmes leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from consort.merge.adapters.computed import Factors

Merge = Callable[[Float[Tensor, "adapter out in"]], Float[Tensor, "out in"]]
TOLERANCE = 1e-10
"""Directions whose singular value is below this share of the largest are none."""


def merged_in_basis(parts: Sequence[Factors], rank: int, merge: Merge, *, mode: str) -> Factors:
    """Factors of the merged delta, of `rank` (zeros where it is lower), B A = U g(M) V.

    `parts`: the scaled factors of all adapters, of rank 0 where one does not change the module.
    """
    outputs = _basis(torch.cat([part.b.double() for part in parts], 1))
    inputs = _basis(torch.cat([part.a.double() for part in parts]).mT).mT
    own = torch.stack([(outputs.mT @ part.b.double()) @ (part.a.double() @ inputs.mT) for part in parts])
    if mode == "knots":
        u, s, vh = torch.linalg.svd(torch.cat(list(own), 1), full_matrices=False)
        kept = s > TOLERANCE * s[:1]
        right = (s[kept, None] * vh[kept]).chunk(len(own), 1)
        a = merge(torch.stack([part @ inputs for part in right]).float()).double()
        return _filled(a, outputs @ u[:, kept], rank)
    core = merge(own.float()).double()
    if core.shape[0] < core.shape[1]:
        return _filled(core @ inputs, outputs, rank)
    return _filled(inputs, outputs @ core, rank)


def _basis(columns: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows rank"]:
    u, s, _ = torch.linalg.svd(columns, full_matrices=False)
    basis: Tensor = u[:, s > TOLERANCE * s[:1]]
    return basis


def _filled(a: Float[Tensor, "own inputs"], b: Float[Tensor, "outputs own"], rank: int) -> Factors:
    rows, columns = a.new_zeros(max(rank, len(a)), a.shape[1]), b.new_zeros(b.shape[0], max(rank, len(a)))
    rows[: len(a)], columns[:, : len(a)] = a, b
    return Factors(rows.float(), columns.float())
