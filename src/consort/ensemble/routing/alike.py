"""Cosines of many rows of features with many others, and which of the others are nearest."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from consort.ensemble.routing.features import Rows

COMMON = 1024
"""Features that are dense where many rows are compared."""
MANY = 256
"""From so many rows on they are multiplied with the others as matrices, which has to be prepared."""
SLICE = 8192
"""Other rows that sparse products are summed up for at a time: their sums stay in a processor's nearest cache."""
Products = Callable[[Rows], Float[np.ndarray, "row other"]]


def similarity(rows: Rows, others_transposed: Rows) -> Float[np.ndarray, "row other"]:
    """Cosines: both have rows (columns) of length 1.

    Where the others lie feature by feature (CSR), a row adds up its own features alone.
    """
    if getattr(others_transposed, "format", "") == "csr" and hasattr(rows, "indptr"):
        found = np.zeros((rows.shape[0], others_transposed.shape[1]), np.float32)
        for i, (start, end) in enumerate(zip(rows.indptr, rows.indptr[1:], strict=False)):
            found[i] = others_transposed[rows.indices[start:end]].T @ rows.data[start:end]
        return found
    product = rows @ others_transposed
    return np.asarray(product.toarray() if hasattr(product, "toarray") else product, dtype=np.float32)


def cosines(columns: Rows, count: int) -> Products:
    """What gives the cosines of blocks of `count` rows in all with the others, whose features are `columns`."""
    if count < MANY or not hasattr(columns, "indptr"):
        return lambda rows: similarity(rows, columns)
    return products(columns.T.tocsr())


def transposed(rows: Rows) -> Rows:
    """Features as rows, so that a query only touches its own features."""
    return rows.T.tocsr() if hasattr(rows, "tocsr") else np.ascontiguousarray(rows.T)


def products(others: Rows) -> Products:
    """Cosines of any rows with many `others`: a product of matrices, dense where features are common.

    The same as `similarity` up to rounding, many times as fast where rows come in blocks; it takes `COMMON` numbers for
    each of the others beside them.
    """
    if not hasattr(others, "indptr"):
        return lambda rows: np.asarray(rows @ others.T, np.float32)
    seen = np.bincount(others.indices, minlength=others.shape[1])
    common = np.sort(np.argsort(-seen, kind="stable")[:COMMON])
    rare = np.setdiff1d(np.flatnonzero(seen), common)
    dense = others.tocsc()[:, common].toarray(order="C")
    sparse = _sparse_products(_columns(others, rare))

    def multiplied(rows: Rows) -> Float[np.ndarray, "row other"]:
        found: np.ndarray = rows.tocsc()[:, common].toarray() @ dense.T
        sparse(_columns(rows, rare), found)
        return found

    return multiplied


def _columns(rows: Rows, columns: Int[np.ndarray, " column"]) -> Rows:
    """These columns of sparse rows, numbered anew."""
    from scipy.sparse import csr_matrix

    place = np.full(rows.shape[1], -1, np.int32)
    place[columns] = np.arange(len(columns), dtype=np.int32)
    indices = place[rows.indices]
    stays = indices >= 0
    ends = np.concatenate([[0], np.cumsum(stays)])[rows.indptr].astype(np.int32)
    return csr_matrix((rows.data[stays], indices[stays], ends), shape=(rows.shape[0], len(columns)))


def _sparse_products(others: Rows) -> Callable[[Rows, np.ndarray], None]:
    """What adds the products of rows with `others` to a table; MKL writes sparse products into a table at once."""
    import torch

    cuts = [slice(start, start + SLICE) for start in range(0, others.shape[0], SLICE)]
    parts = [others[cut].T.tocsr() for cut in cuts]
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]

        def add(rows: Rows, found: np.ndarray) -> None:
            for cut, part in zip(cuts, parts, strict=True):
                found[:, cut] += (rows @ part).toarray()

        return add
    held = [_as_torch(part) for part in parts]

    def add_at_once(rows: Rows, found: np.ndarray) -> None:
        read = _as_torch(rows)
        for cut, part in zip(cuts, held, strict=True):
            into = torch.zeros(rows.shape[0], part.shape[1])
            found[:, cut] += torch.addmm(into, read, part, out=into).numpy()

    return add_at_once


def _as_torch(rows: Rows) -> Any:
    import torch

    ends, columns = (torch.from_numpy(part.astype(np.int32)) for part in (rows.indptr, rows.indices))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            ends, columns, torch.from_numpy(rows.data), size=rows.shape, check_invariants=False
        )


def nearest(alike: Float[np.ndarray, " n"], count: int) -> Int[np.ndarray, " count"]:
    """The `count` of largest similarity, nearest first; of equal ones the first."""
    edge = np.partition(alike, len(alike) - count)[len(alike) - count]
    near = np.flatnonzero(alike >= edge)
    values = alike[near]
    above, level = near[values > edge], near[values == edge]
    return np.concatenate([above[np.argsort(-alike[above], kind="stable")], level[: count - len(above)]])
