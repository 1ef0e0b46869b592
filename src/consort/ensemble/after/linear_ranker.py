"""A ranker that is fitted in seconds: ridge regression from what an answer looks like to how good it is.

A baseline for trained rankers such as PairRanker (2306.02561): candidates are scored one by one, so that of a and b the
first is better by s(a) - s(b), which is antisymmetric and transitive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from consort.core.counted import counted
from consort.core.errors import BadData
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.candidate_features import NAMES, shapes, word_rows
from consort.ensemble.answers.candidates import gather, texts_of
from consort.ensemble.calls import checked_members
from consort.ensemble.learning.fitting import Learned, Replay, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.models.base import LanguageModel
from consort.models.cached.model import text_of

KIND = "linear_ranker"


@strategy(
    exempt={
        "identical_candidates_are_the_first": "the fitted score knows who answered and may prefer another",
        "order_of_members_is_free": "the fitted score knows who answered",
        "copies_are_the_model": "it has to be fitted on the members it is given",
    }
)
class LinearRanker:
    """Ask all models and return the answer that a fitted linear score likes best, the first of equals.

    The score knows who answered, length and form of the answer, its words, and what of it the others say too. `fit`
    regresses quality, less the mean over a query's candidates, on them; `penalty` is the ridge's. `details` has
    `answered_by` and the `scores`. Raises BadParameter where it is asked before it has been fitted.
    """

    needs_fit = True

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        penalty: Annotated[float, Range(0.001, 1000000)] = 5.0,
        state: str = "",
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.penalty, self.state = penalty, state
        self.learned: Learned | None = None
        self.name = f"linear_ranker({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        learned_of(self, KIND)  # not fitted: said before anyone is asked
        found = []
        for row in gather(self.models, self.labels, prompts, sampling):
            scores = self.scores(text_of(row.prompt), row.texts, [self.labels.index(label) for label in row.labels])
            best = int((scores >= scores.max() - 1e-9).argmax()) if len(scores) else 0
            found.append(row.completion(self, best, scores=dict(zip(row.labels, scores.tolist(), strict=True))))
        return found

    def scores(self, query: str, texts: Sequence[str], who: Sequence[int]) -> Float[np.ndarray, " text"]:
        """The score of each candidate; `who` are the numbers of the models that gave them."""
        learned = learned_of(self, KIND)
        if len(learned.arrays["model"]) != len(self.models):
            message = f"is for {counted(len(learned.arrays['model']), 'model')}, not {len(self.models)}"
            raise BadData(message, field=self.state or "state", hint="fit the plan again")
        if not texts:
            return np.zeros(0)
        arrays = learned.arrays
        shape = (shapes(query, texts) - arrays["mean"]) / arrays["scale"] @ arrays["shape"]
        return np.asarray(shape + arrays["model"][list(who)] + word_rows(texts) @ arrays["words"])

    def fit(self, observed: Observed, *, seed: int = 0) -> LinearRanker:
        """The same, fitted on observed answers of these models, in order; `seed` plays no part."""
        from scipy.sparse import csr_matrix, hstack
        from sklearn.linear_model import Ridge

        texts = texts_of(observed)
        count, models = len(texts), len(observed.models)
        looks = np.concatenate([shapes(query, row) for query, row in zip(observed.queries, texts, strict=True)])
        mean, spread = looks.mean(0), looks.std(0)
        scale = np.where(spread > 1e-9, spread, 1.0)
        dense = np.concatenate([(looks - mean) / scale, np.tile(np.eye(models), (count, 1))], axis=1)
        quality = np.where(np.isnan(observed.quality), observed.accuracy, observed.quality)
        centred = (quality - quality.mean(1, keepdims=True)).ravel()
        table = hstack([csr_matrix(_centred(dense, models)), word_rows([t for row in texts for t in row])]).tocsr()
        weight: Any = Ridge(alpha=self.penalty).fit(table, centred).coef_
        parts = np.split(weight, [len(NAMES), len(NAMES) + models])
        names = ("shape", "model", "words")
        arrays = {"mean": mean, "scale": scale, **dict(zip(names, parts, strict=True))}
        return with_learned(self, Learned(KIND, arrays))

    def replay(self, observed: Observed) -> Replay:
        """What it would have answered to observed queries; raises BadData where texts are not known."""
        everyone = range(len(self.models))
        queries, texts = observed.queries, texts_of(observed)
        chosen = [int(self.scores(q, row, everyone).argmax()) for q, row in zip(queries, texts, strict=True)]
        cost = np.full(len(observed), np.nan) if observed.cost is None else observed.cost.sum(1)
        return Replay(observed.quality[np.arange(len(observed)), chosen], cost, tuple(chosen))


def _centred(table: np.ndarray, models: int) -> np.ndarray:
    """Rows less the mean over the candidates of their query."""
    by_query = table.reshape(-1, models, table.shape[1])
    return np.asarray((by_query - by_query.mean(1, keepdims=True)).reshape(table.shape))
