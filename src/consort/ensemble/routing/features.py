"""What routers see of a prompt: rows of features, and how such rows are compared and kept.

Kinds of features are files of `ensemble/features` (`consort methods --kind features`): character n-grams weighted by
rarity (no download, no key), or the states of an encoder, which stays frozen while a router is fitted
(`encoder_training.py` fine-tunes one before that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData
from consort.ensemble.learning.fitting import Learned

Rows = Any
"""A scipy CSR matrix or a float32 array [text, feature] whose rows have length 1 (or 0)."""
MEMO = 4
COMMON = 512
"""Features that are dense where many rows are compared."""
LARGE = 64
"""Lists at least this long are remembered, so that fitting, calibration and several routers read them once."""


class Encoder(Protocol):
    """Texts to rows of features."""

    def rows(self, texts: Sequence[str]) -> Rows: ...

    def arrays(self) -> dict[str, np.ndarray]:
        """What it takes to make the same encoder again, or to know it."""


class Features(Protocol):
    """A kind of features, as a plan names it: from observed texts, or from what was learned, to an encoder."""

    def fitted(self, texts: Sequence[str]) -> Encoder:
        """An encoder, fitted on `texts` where it needs that."""

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Encoder | None:
        """The encoder whose `arrays` a state has; None where these are of other features."""


def encoder_of(learned: Learned, features: Features) -> Encoder:
    """The encoder that a state was learned with. Raises BadData where `features` are others."""
    made = features.restored(learned.arrays)
    if made is None:
        hint = "give the features it was fitted with, or fit the plan again"
        raise BadData("the state was learned with other features", field="features", hint=hint)
    return made


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


def products(others: Rows) -> Callable[[Rows], Float[np.ndarray, "row other"]]:
    """Cosines of any rows with many `others`: a product of matrices, dense where features are common.

    The same as `similarity` up to rounding, many times as fast where rows come in blocks; it takes `COMMON` numbers for
    each of the others beside them.
    """
    if not hasattr(others, "indptr"):
        return lambda rows: np.asarray(rows @ others.T, np.float32)
    seen = np.bincount(others.indices, minlength=others.shape[1])
    common = np.sort(np.argsort(-seen, kind="stable")[:COMMON])
    is_common = np.zeros(others.shape[1], bool)
    is_common[common] = True
    dense = others.tocsc()[:, common].toarray(order="C")
    rare = _kept(others, ~is_common).T.tocsr()

    def cosines(rows: Rows) -> Float[np.ndarray, "row other"]:
        found: np.ndarray = rows.tocsc()[:, common].toarray() @ dense.T
        found += (_kept(rows, ~is_common) @ rare).toarray()
        return found

    return cosines


def _kept(rows: Rows, columns: np.ndarray) -> Rows:
    """Sparse rows with these columns alone, of the same shape."""
    from scipy.sparse import csr_matrix

    stays = columns[rows.indices]
    ends = np.concatenate([[0], np.cumsum(stays)])[rows.indptr].astype(rows.indptr.dtype)
    return csr_matrix((rows.data[stays], rows.indices[stays], ends), shape=rows.shape)


def packed(rows: Rows, name: str) -> dict[str, np.ndarray]:
    """A matrix as named arrays, for a state."""
    if not hasattr(rows, "indptr"):
        return {name: rows}
    kind = np.int32 if rows.nnz < 2**31 else np.int64  # one for both, else scipy widens and copies
    parts = {"data": rows.data, "indices": rows.indices.astype(kind), "indptr": rows.indptr.astype(kind)}
    return {f"{name}.{part}": array for part, array in parts.items()} | {f"{name}.shape": np.array(rows.shape)}


def unpacked(learned: Learned, name: str) -> Rows:
    """The matrix that `packed` took apart."""
    if name in learned.arrays:
        return learned.arrays[name]
    from scipy.sparse import csr_matrix

    data, indices, indptr, shape = (learned.arrays[f"{name}.{p}"] for p in ("data", "indices", "indptr", "shape"))
    return csr_matrix((data, indices, indptr), shape=tuple(shape))


def remembered(memo: dict[int, Rows], texts: Sequence[str], encode: Callable[[Sequence[str]], Rows]) -> Rows:
    """What `encode` makes of texts; long lists are kept in `memo` for the next time."""
    if len(texts) < LARGE:
        return encode(texts)
    key = hash(tuple(texts))
    if key not in memo:
        while len(memo) >= MEMO:
            memo.pop(next(iter(memo)))
        memo[key] = encode(texts)
    return memo[key]
