"""Corpus BLEU-4 (Papineni et al. 2002) as sacreBLEU counts it (Post 2018, 1804.08771), in [0, 1].

The figure is that of `sacrebleu.corpus_bleu` with its defaults, over 100: 13a words, case counts, missing n-grams are
smoothed exponentially. sacreBLEU cuts and counts each answer; the sums of the counts are those of the corpus.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from consort.core.types import Example
from consort.evaluate.registry import metric

if TYPE_CHECKING:
    import numpy as np

ORDER = 4


@cache
def sacre_bleu() -> Any:
    """sacreBLEU's metric; `force` and `effective_order` silence its advice and change no count."""
    return import_module("sacrebleu.metrics.bleu").BLEU(force=True, effective_order=True)


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """BLEU = BP * exp(mean_n log p_n), p_n = matched_n / counted_n, BP = min(1, exp(1 - r / c)).

    sums: (..., 10) = matched 1..4, counted 1..4, answer length c, reference length r. The k-th order without a match
    counts 1 / 2^k as matched (Chen and Cherry 2014, smoothing 3); without any match, or n-gram of an order, it is 0.
    """
    import numpy as np

    matched, counted, c, r = sums[..., :ORDER], sums[..., ORDER : 2 * ORDER], sums[..., -2], sums[..., -1]
    missing = np.cumsum(matched <= 0, axis=-1)
    smoothed = np.where(matched > 0, matched, 0.5**missing)
    precision = smoothed / np.maximum(counted, 1.0)
    brevity = np.minimum(0.0, 1.0 - r / np.maximum(c, 1.0))
    scored = np.exp(np.log(precision).mean(-1) + brevity)
    return np.where((matched > 0).any(-1) & (counted > 0).all(-1), scored, 0.0)


@metric(
    needs=("target",),
    aggregate=bleu_of_sums,
    numbers=10,
    span=(0.0, 1.0),
    cases=({"target": "the cat sat on the mat", "right": "the cat sat on the mat", "wrong": "a dog"},),
)
def bleu(answer: str, example: Example) -> tuple[float, ...]:
    """sacreBLEU's corpus BLEU of all answers, over 100."""
    found = sacre_bleu().sentence_score(answer, list(example.target))
    return tuple(map(float, (*found.counts, *found.totals, found.sys_len, found.ref_len)))
