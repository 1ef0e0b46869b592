"""Corpus BLEU-4 (Papineni et al. 2002), in [0, 1], case counts.

Words are runs of letters, digits and underscores, with . and , inside a number kept; every other visible character
is a word of its own. Differs from sacreBLEU's 13a only there (13a keeps "don't" and "well-known" whole).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from consort.core.types import Example
from consort.evaluate.registry import metric

ORDER = 4
WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+|[^\w\s]")


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """BLEU = BP * exp(mean_n log p_n), p_n = matched_n / counted_n, BP = min(1, exp(1 - r / c)).

    sums: (..., 10) = matched 1..4, counted 1..4, answer length c, reference length r. No smoothing: a set of examples
    without any common 4-gram scores 0.
    """
    matched, counted, c, r = sums[..., :ORDER], sums[..., ORDER : 2 * ORDER], sums[..., -2], sums[..., -1]
    is_positive = (matched > 0).all(-1)
    precision = np.where(matched > 0, matched, 1.0) / np.maximum(counted, 1.0)
    brevity = np.minimum(0.0, 1.0 - r / np.maximum(c, 1.0))
    return np.where(is_positive, np.exp(np.log(precision).mean(-1) + brevity), 0.0)


@metric(needs="generate", aggregate=bleu_of_sums)
def bleu(answer: str, example: Example) -> tuple[float, ...]:
    """Ten counts of one answer (see `bleu_of_sums`).

    An n-gram matches at most as often as in the reference that has most of it; r is the length of the reference
    nearest in length, of equals the shorter.
    """
    words = WORD.findall(answer)
    references = [WORD.findall(target) for target in example.target]
    matched, counted = [], []
    for n in range(1, ORDER + 1):
        found, allowed = ngrams(words, n), Counter[tuple[str, ...]]()
        for reference in references:
            allowed |= ngrams(reference, n)
        matched.append((found & allowed).total())
        counted.append(found.total())
    nearest = min((len(r) for r in references), key=lambda length: (abs(length - len(words)), length))
    return tuple(map(float, (*matched, *counted, len(words), nearest)))
