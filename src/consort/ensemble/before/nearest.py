"""The expert whose own prompts a prompt shares most words with: how cBTM chooses (2303.14177), the best one alone.

In cBTM experts are trained on clusters of a corpus; here an expert's cluster are the observed prompts that it answers
best, so that experts of any origin can be chosen from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Rows
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel


@strategy(paper="2303.14177")
class Nearest(Router):
    """Take the expert with the largest cosine between the prompt's words and those of the prompts it was best at.

    Words are counted as they stand between spaces; a prompt that no model got right is nobody's. `cost` and `lambda`:
    less lambda times the model's price.
    """

    needs_features = False

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        cost: Sequence[float] | None = None,
        lambda_: float = 0.0,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, state=state)

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        """How often each word is in the prompts of each model."""
        words: list[Counter[str]] = [Counter() for _ in observed.models]
        for text, quality in zip(observed.queries, np.nan_to_num(observed.quality), strict=True):
            for own, value in zip(words, quality, strict=True):
                if quality.max() > 0 and value == quality.max():
                    own.update(text.split())
        return Learned(self.kind, values={"words": [dict(sorted(own.items())) for own in words]})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        """The cosines."""
        counted = [Counter(text.split()) for text in texts]
        return np.array([[cosine(own, words) for words in self.learned_values["words"]] for own in counted])


def cosine(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """Of two bags of words; 0 where one is empty.

    >>> cosine({"add": 1, "one": 1}, {"add": 2}) == 2 / 8**0.5
    True
    """
    norm = (sum(n * n for n in a.values()) * sum(n * n for n in b.values())) ** 0.5
    return sum(n * b.get(word, 0) for word, n in a.items()) / norm if norm else 0.0
