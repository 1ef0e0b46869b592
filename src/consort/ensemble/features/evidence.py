"""How strong a store's evidence for a prompt is: what a router by knowledge sees.

A router with these features sends a prompt to the member that has a retriever where the evidence is strong, as far as
observed answers have taught it: `ridge: {models: [a, augmented: …], features: {evidence: {retriever: …}}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.features import feature
from consort.ensemble.routing.features import Rows, remembered
from consort.knowledge.evidence import Retriever

SIZE = 6
"""Numbers for a prompt: 1, its words, best score, mean score, gap to the second, share of words in the best piece."""


@feature()
class Evidence:
    """Scores of the `k` first pieces that `retriever` finds for a prompt, and how many of its words the best one has.

    Scores are divided by the largest of the observed prompts, so that those of any retriever will do.
    """

    def __init__(self, retriever: Retriever, *, k: Annotated[int, Range(1, 100)] = 5) -> None:
        self.retriever, self.k = retriever, k

    def fitted(self, texts: Sequence[str]) -> Strengths:
        raw = strengths(self.retriever, texts, self.k)
        scale = float(np.abs(raw[:, 2]).max(initial=0.0)) or 1.0
        return Strengths(self.retriever, self.k, scale)

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Strengths | None:
        known = arrays.get("evidence")
        if known is None or known.shape != (2,) or int(known[0]) != self.k:
            return None
        return Strengths(self.retriever, self.k, float(known[1]))


@dataclass(slots=True)
class Strengths:
    """The evidence for prompts as rows of numbers, to length 1."""

    retriever: Retriever
    k: int
    scale: float
    _memo: dict[int, Rows] = field(default_factory=dict, repr=False)

    def rows(self, texts: Sequence[str]) -> Rows:
        return remembered(self._memo, texts, self._rows)

    def _rows(self, texts: Sequence[str]) -> Float[np.ndarray, "text feature"]:
        raw = strengths(self.retriever, texts, self.k)
        raw[:, 2:5] /= self.scale
        return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"evidence": np.array([self.k, self.scale])}


def strengths(retriever: Retriever, texts: Sequence[str], k: int) -> Float[np.ndarray, "text feature"]:
    """`SIZE` numbers for each text; zeros for the scores of what is not found."""
    found = np.zeros((len(texts), SIZE))
    for i, hits in enumerate(retriever.search(list(texts), k) if texts else []):
        words = set(texts[i].lower().split())
        scores = [hit.score for hit in hits]
        found[i, :2] = 1, np.log1p(len(words)) / 5
        if hits:
            own = set(hits[0].text.lower().split())
            gap = scores[0] - (scores[1] if len(scores) > 1 else 0.0)
            found[i, 2:] = scores[0], sum(scores) / len(scores), gap, len(words & own) / max(1, len(words))
    return found
