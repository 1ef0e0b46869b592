"""RouteLLM's causal classifier: a language model says from 1 to 5 how well the weak model would do (2406.18665).

s = 1 - P(score >= 4). The paper fine-tunes an 8B model on such labels; here the model is the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.core.types import Sampling
from consort.ensemble.answers.samples import checked_template, filled
from consort.ensemble.before import strategy
from consort.ensemble.calls import ask
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Rows
from consort.ensemble.routing.router import Router, held_against, threshold_in_use, threshold_of
from consort.models.base import LanguageModel
from consort.models.cost import cost_of

GOOD = 4
TEMPLATE = (
    "How well can a small model answer this? Say one number from 1 (badly) to 5 (perfectly).\n\n{prompt}\n\nNumber:"
)
ONE = re.compile(r"[1-5]")


@strategy(paper="2406.18665")
class CausalScore(Router):
    """Ask `strong` where `scorer` gives the weak model less than 4 of 5 points.

    The score is 1 - P(4 or more), in which a number that cannot be read counts as 1 point. `threshold` 0.5 needs no
    fitting; without one, fitting finds that at which `share` of the queries goes to the strong model. `template` has
    {prompt}. What the scorer does is part of an answer's cost.
    """

    needs_features = False

    def __init__(
        self,
        strong: LanguageModel,
        weak: LanguageModel,
        *,
        scorer: LanguageModel,
        template: str = "",
        threshold: Annotated[float, Range(0, 2)] | None = 0.5,
        share: Annotated[float, Range(0, 1)] = 0.5,
        state: str = "",
    ) -> None:
        super().__init__((strong, weak), state=state)
        self.strong, self.weak, self.scorer, self.template = strong, weak, scorer, template
        self.threshold, self.share = threshold, share
        self.needs_fit = threshold is None
        self.asked = checked_template(template or TEMPLATE, "template", "prompt")

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (*self.models, self.scorer)

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        scores, _ = self._judgements(observed.queries)
        return Learned(self.kind, values={"threshold": threshold_of(scores, self.share)})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query 2"]:
        return held_against(self._judgements(texts)[0], threshold_in_use(self))

    def judged(self, texts: Sequence[str]) -> tuple[Float[np.ndarray, "query 2"], list[list[Any]]]:
        scores, spent = self._judgements(texts)
        return held_against(scores, threshold_in_use(self)), spent

    def _judgements(self, texts: Sequence[str]) -> tuple[Float[np.ndarray, " query"], list[list[Any]]]:
        """1 - P(4 or more), and what it cost; a scorer that fails counts as 1 point."""
        outcomes = ask(self.scorer, [filled(self.asked, prompt=text) for text in texts], Sampling(max_tokens=4))
        spent = [[] if isinstance(one, Exception) else [(self.scorer, cost_of(self.scorer, one))] for one in outcomes]
        points = [0 if isinstance(one, Exception) else points_in(one.text) for one in outcomes]
        return np.array([float(p < GOOD) for p in points]), spent


def points_in(text: str) -> int:
    """The first number from 1 to 5 in an answer, else 1."""
    found = ONE.search(text)
    return int(found.group()) if found else 1
