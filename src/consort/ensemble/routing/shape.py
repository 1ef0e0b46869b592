"""The shape of a prompt in a few numbers: how long, how many numbers, how much punctuation, which script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.ensemble.routing.features import Rows

SCALE = 0.1
"""What figures of unit deviation are multiplied by beside n-grams of unit length."""
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Shape:
    """Figures standardised as they were on the fit queries."""

    mean: Float[np.ndarray, " figure"]
    deviation: Float[np.ndarray, " figure"]

    @classmethod
    def fitted(cls, texts: Sequence[str]) -> Shape:
        found = np.array([figures(text) for text in texts])
        return cls(found.mean(0), np.maximum(found.std(0), 1e-9))

    def rows(self, texts: Sequence[str]) -> Float[np.ndarray, "text figure"]:
        """Standardised, and cut at four deviations, so that one odd prompt is not sent anywhere by its length."""
        found = np.array([figures(text) for text in texts]).reshape(len(texts), -1)
        return np.asarray(np.clip((found - self.mean) / self.deviation, -4, 4).astype(np.float32))


@lru_cache(maxsize=16384)
def figures(text: str) -> tuple[float, ...]:
    """Length in several ways, numbers, lines, sentences, marks, word length, variety, capitals, digits, script."""
    words, numbers, size = text.split(), NUMBER.findall(text), max(1, len(text))
    marks = sum(not (c.isalnum() or c.isspace()) for c in text)
    return (
        np.log1p(len(text)),
        np.log1p(len(words)),
        np.log1p(len(numbers)),
        np.log1p(text.count("\n")),
        np.log1p(sum(map(text.count, ".!?。"))),
        np.log1p(sum(map(text.count, ",;:"))),
        np.log1p(marks),
        sum(map(len, words)) / max(1, len(words)),
        len({w.lower() for w in words}) / max(1, len(words)),
        sum(c.isupper() for c in text) / size,
        sum(c.isdigit() for c in text) / size,
        sum(ord(c) > 127 for c in text) / size,
        len(text) / 1000,
        np.log1p(len(set(numbers))),
        np.log1p(max((int(n[:9]) for n in numbers), default=0)),
    )


def with_shape(rows: Rows, figures: Float[np.ndarray, "n figure"]) -> Rows:
    """The rows with more columns, sparse or dense as they are."""
    if not hasattr(rows, "indptr"):
        return np.concatenate([rows, figures], axis=1)
    from scipy.sparse import csr_matrix, hstack

    joined: Any = hstack([rows, csr_matrix(figures)]).tocsr()
    return joined
