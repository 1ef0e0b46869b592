"""Edit distances of byte strings, many at once, and the nearest token of a vocabulary (rapidfuzz does the counting)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CELLS = 1 << 24
"""Distances held at once."""

Counts = NDArray[np.int64]


def distances(ones: Sequence[bytes], others: Sequence[bytes]) -> Counts:
    """Levenshtein distance of each of `ones` to each of `others`, as a matrix."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    if not len(ones) or not len(others):
        return np.zeros((len(ones), len(others)), np.int64)
    found: Counts = cdist(ones, others, scorer=Levenshtein.distance, dtype=np.int64)
    return found


class Nearest:
    """For bytes the token of a vocabulary that the fewest insertions, deletions and changes of bytes lead to.

    Ties go to the lower token. A token counts with its first `longest` bytes.
    """

    def __init__(self, pieces: Sequence[bytes | None], longest: int = 32) -> None:
        texts = [(i, piece[:longest]) for i, piece in enumerate(pieces) if piece]
        self.ids = np.array([i for i, _ in texts], np.int64)
        self._texts = [piece for _, piece in texts]
        self._known: dict[bytes, int] = {}

    def __call__(self, text: bytes) -> int:
        """The nearest token, -1 where the vocabulary has no text at all."""
        return self.many([text])[0]

    def many(self, texts: Sequence[bytes]) -> list[int]:
        """The nearest token of each text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        step = max(1, _CELLS // max(len(self.ids), 1))
        for at in range(0, len(new), step):
            part = new[at : at + step]
            nearest = self.ids[distances(part, self._texts).argmin(1)].tolist() if self._texts else [-1] * len(part)
            self._known.update(zip(part, nearest, strict=True))  # of equals the first, which is the lowest
        return [self._known[text] for text in texts]

    def distances(self, text: bytes) -> Counts:
        """Levenshtein distance of `text` to every token that is a text, in the order of their ids."""
        found: Counts = distances([text], self._texts)[0]
        return found
