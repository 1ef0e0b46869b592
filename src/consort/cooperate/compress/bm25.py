"""BM25 (Robertson and Zaragoza, 2009) of short texts against a question, without an index.

idf(w) = ln(1 + (N - n_w + .5) / (n_w + .5)); the weight of a word in a text of length l is
idf(w) f / (f + k1 (1 - b + b l / mean l)), as in `knowledge.TextIndex`, whose words these are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from consort.knowledge.words import Words

K1, B = 1.5, 0.75


def terms(text: str) -> list[str]:
    """The words of a text, as an index reads them."""
    return Words().of(text)


def bm25(question: str, texts: Sequence[str], *, k1: float = K1, b: float = B) -> list[float]:
    """How well each text fits the question; 0 for one that shares no word with it."""
    counts = [Counter(terms(text)) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / max(1, len(lengths)) or 1.0
    found = [0.0] * len(texts)
    for word, times in Counter(terms(question)).items():
        holders = sum(word in count for count in counts)
        idf = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
        for i, count in enumerate(counts):
            f = count[word]
            if f:
                found[i] += times * idf * f / (f + k1 * (1 - b + b * lengths[i] / mean))
    return found
