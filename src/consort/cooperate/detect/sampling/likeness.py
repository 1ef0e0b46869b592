"""How alike answers are, as a matrix over the answer and its samples: what uncertainty over graphs starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from consort.cooperate.detect.encoder import TextEncoder
from consort.cooperate.detect.words import words_of

Measure = Literal["rouge_l", "words", "encoder", "nli"]
Matrix = Float[np.ndarray, "text text"]


def likeness(texts: Sequence[str], measure: Measure, nli: Any = None, encoder: TextEncoder | None = None) -> Matrix:
    """A symmetric matrix in [0, 1], 1 where texts are equal.

    rouge_l: F1 of the longest common subsequence of words; words: Jaccard of sets of words (2305.19187, section 4.1);
    encoder: cosine of sentence vectors, at least 0; nli: mean of P(entailment) both ways (2305.19187, section 4.1).
    """
    if measure == "encoder":
        vectors = (encoder or TextEncoder()).vectors(texts)
        return _with_equals(texts, np.clip(vectors @ vectors.T, 0, 1))
    if measure == "nli":
        entail = pairwise(texts, nli)[..., 0]
        return _with_equals(texts, (entail + entail.T) / 2)
    rule: Callable[[list[str], list[str]], float] = rouge_l if measure == "rouge_l" else jaccard
    lists = [words_of(text) for text in texts]
    found = np.eye(len(texts))
    for i, a in enumerate(lists):
        for j in range(i):
            found[i, j] = found[j, i] = rule(a, lists[j])
    return _with_equals(texts, found)


def pairwise(texts: Sequence[str], nli: Any) -> Float[np.ndarray, "premise hypothesis 3"]:
    """P(entail, neutral, contradict) of every text as the premise of every other; a text entails itself."""
    n = len(texts)
    pairs = [(a, b) for a in dict.fromkeys(texts) for b in dict.fromkeys(texts) if a != b]
    scores = nli.score([a for a, _ in pairs], [b for _, b in pairs]) if pairs else np.zeros((0, 3))
    known = dict(zip(pairs, scores, strict=True))
    same = np.array([1.0, 0.0, 0.0])
    return np.array([[known.get((a, b), same) for b in texts] for a in texts]).reshape(n, n, 3)


def jaccard(a: Sequence[str], b: Sequence[str]) -> float:
    """Common over all words; two texts without words agree."""
    one, other = set(a), set(b)
    return len(one & other) / len(one | other) if one | other else 1.0


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """Twice the longest common subsequence over both lengths; two texts without words agree."""
    return 2 * _common(a, b) / (len(a) + len(b)) if a or b else 1.0


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    row = [0] * (len(b) + 1)
    for word in a:
        corner = 0
        for j, other in enumerate(b):
            corner, row[j + 1] = row[j + 1], corner + 1 if word == other else max(row[j + 1], row[j])
    return row[-1]


def _with_equals(texts: Sequence[str], matrix: Matrix) -> Matrix:
    """The matrix with 1 where two texts are equal: rounding must not tell them apart."""
    equal = np.array([[a == b for b in texts] for a in texts])
    return np.asarray(np.where(equal, 1.0, matrix))
