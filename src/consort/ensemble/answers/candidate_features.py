"""What can be seen of a candidate at a glance: its length, its form, its words, and how it stands to the others."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.ensemble.answers.text_similarity import unigram_recall, words_of

ITEM = re.compile(r"^\s*(?:\d+[.)]|[-*•])", re.MULTILINE)
APOLOGY = re.compile(r"\b(?:sorry|unfortunately|cannot|can't|unable|as an ai)\b", re.IGNORECASE)
WORDS = 2**14
NAMES = (
    "log length", "log length less the mean", "has what others say", "others have what it says", "lines", "items",
    "different words", "words of the query", "apologises", "code", "exclaims", "asks", "marked up",
)  # fmt: skip


def shapes(query: str, texts: Sequence[str]) -> Float[np.ndarray, "text feature"]:
    """The features called NAMES of each of the candidates for one query."""
    shared = unigram_recall(texts) - np.eye(len(texts))
    others = max(1, len(texts) - 1)
    recall, precision = shared.sum(1) / others, shared.sum(0) / others
    lengths = [math.log1p(len(text)) for text in texts]
    mean, asked = sum(lengths) / len(lengths), set(words_of(query))
    rows = []
    for i, text in enumerate(texts):
        words = words_of(text)
        own = set(words)
        rows.append([
            lengths[i], lengths[i] - mean, recall[i], precision[i], text.count("\n") / 10,
            len(ITEM.findall(text)) / 5, len(own) / max(1, len(words)), len(asked & own) / max(1, len(asked)),
            float(bool(APOLOGY.search(text))), float("`" in text), float("!" in text), float("?" in text),
            float("**" in text or "#" in text),
        ])  # fmt: skip
    return np.array(rows, dtype=float).reshape(len(texts), len(NAMES))


def word_rows(texts: Sequence[str]) -> Any:
    """A sparse row of hashed words and pairs of words for each text, damped to 1 + log, of length 1."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    def tokens(text: str) -> list[str]:
        words = words_of(text)
        return words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]

    table = HashingVectorizer(analyzer=tokens, n_features=WORDS, alternate_sign=False, norm=None).transform(texts)
    table.data = 1 + np.log(table.data)
    return normalize(table)
