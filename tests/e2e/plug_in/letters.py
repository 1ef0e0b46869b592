"""Features: how often each letter occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from consort.ensemble.features import feature

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class Counted:
    """Counts of letters, to length 1; nothing is learned."""

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[float(text.lower().count(letter)) for letter in ALPHABET] for text in texts], np.float32)
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        return counts / np.maximum(lengths, 1e-9)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"letters": np.array([len(ALPHABET)])}


@feature()
class Letters:
    """How often each of 36 letters and digits occurs."""

    def fitted(self, texts: Sequence[str]) -> Counted:
        return Counted()

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Counted | None:
        return Counted() if "letters" in arrays else None
