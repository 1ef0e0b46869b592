"""What routers see of a prompt: rows of features, and how such rows are compared and kept.

Kinds of features are files of `ensemble/features` (`consort methods --kind features`): character n-grams weighted by
rarity (no download, no key), or the states of an encoder, which stays frozen while a router is fitted
(`encoder_training.py` fine-tunes one before that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from consort.core.errors import BadData
from consort.ensemble.learning.fitting import Learned

Rows = Any
"""A scipy CSR matrix or a float32 array [text, feature] whose rows have length 1 (or 0)."""
MEMO = 4
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
