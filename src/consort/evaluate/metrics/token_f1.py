"""Token F1: overlap of the words of answer and target, as in SQuAD (arXiv 1606.05250)."""

from __future__ import annotations

import re
import string
from collections import Counter

from consort.core.types import Example
from consort.evaluate.registry import metric

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalised_words(text: str) -> list[str]:
    """Lower case, ASCII punctuation and the articles a, an, the removed, split at white space."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def f1(answer: list[str], target: list[str]) -> float:
    """Harmonic mean of precision and recall of words with multiplicity; two empty lists agree."""
    if not answer or not target:
        return float(answer == target)
    shared = (Counter(answer) & Counter(target)).total()
    return 2 * shared / (len(answer) + len(target))


@metric(needs="generate", unit=True)
def token_f1(answer: str, example: Example) -> float:
    """The best F1 over the targets, in [0, 1]."""
    words = normalised_words(answer)
    return max(f1(words, normalised_words(target)) for target in example.target)
