"""Corpus chrF2 (Popović 2015) as sacreBLEU counts it, in [0, 1]: character n-grams up to 6, white space left out.

The figure is that of `sacrebleu.corpus_chrf` with its defaults, over 100.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from consort.core.types import Example
from consort.evaluate.registry import metric

if TYPE_CHECKING:
    import numpy as np

ORDER = 6
BETA = 2.0


def chrf_of_sums(sums: np.ndarray) -> np.ndarray:
    """(1 + beta^2) P R / (beta^2 P + R), P and R being means over the orders that both sides have.

    sums: (..., 18) = n-grams of the answer, of the reference, and common ones, for each order 1..6.
    """
    import numpy as np

    counts = sums.reshape(*sums.shape[:-1], ORDER, 3)
    answer, reference, common = counts[..., 0], counts[..., 1], counts[..., 2]
    has = (answer > 0) & (reference > 0)
    orders = np.maximum(has.sum(-1), 1)
    precision = np.where(has, common / np.maximum(answer, 1.0), 0.0).sum(-1) / orders
    recall = np.where(has, common / np.maximum(reference, 1.0), 0.0).sum(-1) / orders
    below = BETA**2 * precision + recall
    return np.where(below > 0, (1 + BETA**2) * precision * recall / np.where(below > 0, below, 1.0), 0.0)


@metric(needs=("target",), aggregate=chrf_of_sums, numbers=18, span=(0.0, 1.0))
def chrf(answer: str, example: Example) -> tuple[float, ...]:
    """sacreBLEU's corpus chrF2 of all answers, over 100; of several targets the best for each answer."""
    import numpy as np

    ours = _ngrams(answer)
    rows = [_row(ours, _ngrams(target)) for target in example.target]
    return max(rows, key=lambda row: float(chrf_of_sums(np.array(row))))


def _ngrams(text: str) -> list[Counter[str]]:
    plain = "".join(text.split())
    return [Counter(plain[i : i + n] for i in range(len(plain) - n + 1)) for n in range(1, ORDER + 1)]


def _row(answer: list[Counter[str]], reference: list[Counter[str]]) -> tuple[float, ...]:
    """An order that the reference has no n-gram of does not count against the answer."""
    triples = (((a.total() if r else 0), r.total(), (a & r).total()) for a, r in zip(answer, reference, strict=True))
    return tuple(float(number) for triple in triples for number in triple)
