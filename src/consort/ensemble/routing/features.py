"""What routers see of a prompt: character n-grams weighted by rarity (no download, no key), or an encoder's states.

N-grams are hashed, so that a state needs no vocabulary, and columns too common to tell prompts apart cost nothing at
decision time but their share of the length. Encoders (`sentence_encoder.py`) are frozen while a router is fitted;
`encoder_training.py` fine-tunes one before that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.routing.sentence_encoder import SentenceEncoder, encoder_folder

Rows = Any
"""A scipy CSR matrix or a float32 array [text, feature] whose rows have length 1 (or 0)."""
BUCKETS = 2**18
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


@dataclass(slots=True)
class Tfidf:
    """Character 2- to 4-grams within words, log(1 + count), times rarity, to length 1; `idf` is [bucket]."""

    idf: Float[np.ndarray, " bucket"]
    _memo: dict[int, Rows] = field(default_factory=dict, repr=False)

    @classmethod
    def fitted(cls, texts: Sequence[str], counts: Rows = None) -> Tfidf:
        """Rarity (smoothed, as scikit-learn's) over `texts`; `counts` are their `gram_counts` where known."""
        counts = gram_counts(texts) if counts is None else counts
        seen = np.bincount(counts.indices, minlength=BUCKETS)
        made = cls((np.log((1 + len(texts)) / (1 + seen)) + 1).astype(np.float32))
        made.remember(texts, counts)
        return made

    def remember(self, texts: Sequence[str], counts: Rows) -> None:
        """Keep the rows of `texts`, whose `gram_counts` are given, for the next time they are asked for."""
        _remembered(self._memo, texts, lambda _: self._weighted(counts))

    def rows(self, texts: Sequence[str]) -> Rows:
        return _remembered(self._memo, texts, lambda these: self._weighted(gram_counts(these)))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"idf": self.idf}

    def _weighted(self, counts: Rows) -> Rows:
        found = counts.copy()
        found.data = (1 + np.log(found.data)) * self.idf[found.indices]
        length = np.sqrt(np.asarray(found.multiply(found).sum(1)).ravel())
        found.data /= np.repeat(np.maximum(length, 1e-12), np.diff(found.indptr)).astype(np.float32)
        return found


def gram_counts(texts: Sequence[str]) -> Rows:
    """How often each hashed n-gram occurs in each text, [text, bucket].

    N-grams are those of words, so each different word is hashed once.
    """
    from scipy.sparse import csr_matrix

    known: dict[str, int] = {}
    places: list[int] = []
    ends = [0]
    for text in texts:
        places += [known.setdefault(word, len(known)) for word in text.lower().split()]
        ends.append(len(places))
    shape = len(texts), max(1, len(known))
    words = csr_matrix((np.ones(len(places), np.float32), places, ends), shape=shape, dtype=np.float32)
    found = words @ _word_grams(list(known) or [""])
    found.sort_indices()
    return found


def _word_grams(words: Sequence[str]) -> Rows:
    from sklearn.feature_extraction.text import HashingVectorizer

    grams = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(2, 4),
        n_features=BUCKETS,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    return grams.transform(words)


@dataclass(slots=True)
class Embeddings:
    """The states of an encoder that is not trained any more."""

    encoder: SentenceEncoder
    _memo: dict[int, Rows] = field(default_factory=dict, repr=False)

    def rows(self, texts: Sequence[str]) -> Rows:
        return _remembered(self._memo, texts, self.encoder.embed)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"encoder": self.encoder.digest()}


def check_features(features: str) -> None:
    """Raises BadParameter for what is neither "tfidf" nor an encoder, MissingExtra for "minilm" without its extra."""
    if features != "tfidf":
        encoder_folder(features)


def fit_encoder(features: str, texts: Sequence[str]) -> Encoder:
    """An encoder of this kind, fitted on `texts` where it needs that."""
    return Tfidf.fitted(texts) if features == "tfidf" else Embeddings(SentenceEncoder(features))


def encoder_of(learned: Learned, features: str) -> Encoder:
    """The encoder that a state was learned with. Raises BadData where `features` is another one."""
    told = learned.arrays
    if features == "tfidf" and "idf" in told:
        return Tfidf(told["idf"])
    made = None if features == "tfidf" else Embeddings(SentenceEncoder(features))
    known = told.get("encoder")
    if made is None or "idf" in told or (known is not None and (known != made.arrays()["encoder"]).any()):
        hint = "give the features it was fitted with, or fit the plan again"
        raise BadData("the state was learned with other features", field=f"features: {features}", hint=hint)
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


def _remembered(memo: dict[int, Rows], texts: Sequence[str], encode: Callable[[Sequence[str]], Rows]) -> Rows:
    if len(texts) < LARGE:
        return encode(texts)
    key = hash(tuple(texts))
    if key not in memo:
        while len(memo) >= MEMO:
            memo.pop(next(iter(memo)))
        memo[key] = encode(texts)
    return memo[key]
