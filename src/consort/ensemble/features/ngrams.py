"""Character n-grams weighted by rarity: no download, no key.

N-grams are hashed, so that a state needs no vocabulary, and columns too common to tell prompts apart cost nothing at
decision time but their share of the length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.ensemble.features import feature
from consort.ensemble.routing.features import Rows, remembered
from consort.ensemble.routing.hashed import word_grams

LOW, HIGH, BITS = 2, 4, 18


@feature()
class Ngrams:
    """Character n-grams within words, of `low` to `high` letters, in 2^`bits` hashed columns, weighted by rarity."""

    def __init__(
        self,
        *,
        low: Annotated[int, Range(1, 10)] = 2,
        high: Annotated[int, Range(1, 10)] = 4,
        bits: Annotated[int, Range(4, 24)] = 18,
    ) -> None:
        self.low, self.high, self.bits = low, high, bits
        if low > high:
            raise BadParameter(f"{low} is more than high, {high}", field="low", hint=f"at most {high}")

    def fitted(self, texts: Sequence[str]) -> Tfidf:
        """The n-grams with their rarity in these texts."""
        return Tfidf.fitted(texts, low=self.low, high=self.high, bits=self.bits)

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Tfidf | None:
        """The n-grams with the rarity that a state has, if they are of the same kind."""
        kind = tuple(map(int, arrays.get("ngrams", (LOW, HIGH))))
        if "idf" not in arrays or len(arrays["idf"]) != 2**self.bits or kind != (self.low, self.high):
            return None
        return Tfidf(arrays["idf"], self.low, self.high)


@dataclass(slots=True)
class Tfidf:
    """N-grams of `low` to `high` letters within words, log(1 + count), times rarity, to length 1; `idf` is [bucket]."""

    idf: Float[np.ndarray, " bucket"]
    low: int = LOW
    high: int = HIGH
    _memo: dict[int, Rows] = field(default_factory=dict, repr=False)

    @classmethod
    def fitted(
        cls, texts: Sequence[str], counts: Rows = None, *, low: int = LOW, high: int = HIGH, bits: int = BITS
    ) -> Tfidf:
        """Rarity (smoothed, as scikit-learn's) over `texts`; `counts` are their `gram_counts` where known."""
        counts = gram_counts(texts, low, high, bits) if counts is None else counts
        often = np.bincount(counts.indices, minlength=2**bits)
        made = cls((np.log((1 + len(texts)) / (1 + often)) + 1).astype(np.float32), low, high)
        made.remember(texts, counts)
        return made

    def remember(self, texts: Sequence[str], counts: Rows) -> None:
        """Keep the rows of `texts`, whose `gram_counts` are given, for the next time they are asked for."""
        remembered(self._memo, texts, lambda _: self._weighted(counts))

    def rows(self, texts: Sequence[str]) -> Rows:
        bits = len(self.idf).bit_length() - 1
        return remembered(
            self._memo, texts, lambda these: self._weighted(gram_counts(these, self.low, self.high, bits))
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The rarity of every column, and the lengths of n-grams."""
        return {"idf": self.idf, "ngrams": np.array([self.low, self.high])}

    def _weighted(self, counts: Rows) -> Rows:
        found = counts.copy()
        found.data = (1 + np.log(found.data)) * self.idf[found.indices]
        length = np.sqrt(np.asarray(found.multiply(found).sum(1)).ravel())
        found.data /= np.repeat(np.maximum(length, 1e-12), np.diff(found.indptr)).astype(np.float32)
        return found


def gram_counts(texts: Sequence[str], low: int = LOW, high: int = HIGH, bits: int = BITS) -> Rows:
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
    if not known:
        return csr_matrix((len(texts), 2**bits), dtype=np.float32)
    words = csr_matrix((np.ones(len(places), np.float32), places, ends), shape=(len(texts), len(known)))
    found = words @ word_grams(list(known), low, high, 2**bits)
    found.sort_indices()
    return found
