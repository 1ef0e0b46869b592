"""FrugalGPT (2305.05176): a chain of models, a scorer of answers, and thresholds that are best for a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, BadParameter, Unsupported
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.candidates import texts_of
from consort.ensemble.answers.confidence import Confidence
from consort.ensemble.answers.scorer import fit_scorers, scores_of
from consort.ensemble.answers.thresholds import answered_by, best_chain
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.ensemble.confidences.mean_probability import MeanProbability
from consort.ensemble.learning.fitting import Learned, Replay, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.models.base import LanguageModel
from consort.models.cached.model import text_of

MOST = 12
"""Models at most: all chains of up to three of them are tried."""


@strategy(
    paper="2305.05176",
    exempt={
        "identical_candidates_are_the_first": "the fitted chain decides who is asked first",
        "order_of_members_is_free": "the fitted chain decides who is asked first",
        "a_failed_member_is_named": "members outside of the fitted chain are not asked, and so do not fail",
    },
)
class FrugalGPT:
    """Ask a fitted chain of models in order; the first answer whose score reaches its threshold is returned.

    `fit` trains a scorer for each model and chooses the chain, of at most `length` models in any order, and its
    thresholds so that quality is highest at a mean cost of at most `budget` (in the unit of the observed costs; 0 for
    no bound). `scorer`: `text`, the chance that an answer is right given the words of query and answer, or
    `confidence`, how sure its model is (`confidence`, default `mean_probability`), for which fitting asks the models
    once more. A model
    that fails is passed over; the last one's answer is always taken, the best scored one if it fails. `details` has
    `answered_by` and `scores`. Raises BadParameter where it is asked before it has been fitted.
    """

    needs_fit = True

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        scorer: Literal["confidence", "text"] = "text",
        confidence: Confidence | None = None,
        budget: Annotated[float, Range(0, 1000000000)] = 0.0,
        length: Annotated[int, Range(1, 4)] = 3,
        state: str = "",
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.confidence, self.sure_of = confidence, confidence or MeanProbability()
        self.scorer, self.budget, self.length, self.state = scorer, budget, length, state
        if len(self.models) > MOST:
            raise BadParameter(f"{len(self.models)} models", field="models", hint=f"give at most {MOST}")
        self.learned: Learned | None = None
        self.name = f"frugal_gpt({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    @property
    def in_use(self) -> list[int]:
        """Numbers of the members that may be asked: the chain's."""
        return sorted(set(self._chain()[0]))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        chain, thresholds = self._chain()
        rows = [_Row() for _ in prompts]
        for level, m in enumerate(chain):
            pending = [i for i, row in enumerate(rows) if not row.accepted]
            job = (self.models[m], [prompts[i] for i in pending], sampling.of_rows(pending))
            outcomes = ask_side_by_side([job])[0]
            said = [
                rows[i].ledger.enter(self.labels[m], self.models[m], h) for i, h in zip(pending, outcomes, strict=True)
            ]
            present = [(i, c) for i, c in zip(pending, said, strict=True) if c is not None]
            last = level == len(chain) - 1
            if last:
                for i, answer in present:
                    rows[i].take(self.labels[m], answer)
                break
            scores = self._scores(m, [prompts[i] for i, _ in present], present)
            for (i, answer), score in zip(present, scores, strict=True):
                rows[i].judge(self.labels[m], answer, score, score >= thresholds[level])
        return [self._completion(row) for row in rows]

    def _completion(self, row: _Row) -> Completion:
        return row.ledger.completion(self, row.best, answered_by=row.answered_by, scores=row.scores)

    def _chain(self) -> tuple[list[int], list[float]]:
        values = learned_of(self, "frugal_gpt").values
        if max(values["chain"]) >= len(self.models):
            raise BadData("is for more models", field=self.state or "state", hint="fit the plan again")
        # a threshold that nothing reaches is null: JSON has no infinity
        return list(values["chain"]), [np.inf if t is None else float(t) for t in values["thresholds"]]

    def _scores(
        self, model: int, prompts: Sequence[Prompt], present: Sequence[tuple[int, Completion]]
    ) -> Sequence[float]:
        if self.scorer == "confidence":
            return [sureness(answer, self.models[model], self.sure_of) for _, answer in present]
        arrays = learned_of(self, "frugal_gpt").arrays
        found: list[float] = scores_of(
            arrays, model, [text_of(p) for p in prompts], [c.text for _, c in present]
        ).tolist()
        return found

    def fit(self, observed: Observed, *, seed: int = 0) -> FrugalGPT:
        """The same with scorers, chain and thresholds; thresholds are chosen on scores of examples held out."""
        quality = np.nan_to_num(observed.quality)
        cost = np.ones_like(quality) if observed.cost is None else np.nan_to_num(observed.cost)
        arrays: dict[str, np.ndarray] = {}
        if self.scorer == "text":
            arrays, scores = fit_scorers(observed.queries, texts_of(observed), quality, seed=seed)
        else:
            scores = self._confidences(observed)
        chosen = best_chain(scores, quality, cost, self.budget or np.inf, length=self.length)
        finite = [None if t == np.inf else t for t in chosen.thresholds]
        values = {"chain": list(chosen.chain), "thresholds": finite, "quality": chosen.quality, "cost": chosen.cost}
        return with_learned(self, Learned("frugal_gpt", arrays, values))

    def _confidences(self, observed: Observed) -> Float[np.ndarray, "n model"]:
        answers = [model.generate(observed.prompts) for model in self.models]
        pairs = list(zip(self.models, answers, strict=True))
        return np.array([[sureness(a, model, self.sure_of) for a in row] for model, row in pairs]).T

    def replay(self, observed: Observed) -> Replay:
        """What it would have done on observed answers, whose models are these, in order."""
        chain, thresholds = self._chain()
        part = observed.columns(chain)
        if self.scorer == "text":
            texts, arrays = texts_of(part), learned_of(self, "frugal_gpt").arrays
            columns = [scores_of(arrays, m, part.queries, [t[i] for t in texts]) for i, m in enumerate(chain)]
            scores = np.stack(columns, axis=1)
        else:
            scores = self._confidences(observed)[:, chain]
        level, rows = answered_by(scores, thresholds), np.arange(len(part))
        cost = np.full(part.quality.shape, np.nan) if part.cost is None else part.cost
        return Replay(part.quality[rows, level], cost.cumsum(1)[rows, level], tuple(chain[i] for i in level))


class _Row:
    """A prompt on its way along the chain: the best scored answer so far."""

    __slots__ = ("accepted", "answered_by", "best", "ledger", "scores")

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.accepted, self.answered_by = False, ""
        self.best: Completion | None = None
        self.scores: dict[str, float] = {}

    def judge(self, label: str, answer: Completion, score: float, accepted: bool) -> None:
        if accepted or self.best is None or score > max(self.scores.values()):
            self.best, self.answered_by = answer, label
        self.scores[label], self.accepted = float(score), accepted

    def take(self, label: str, answer: Completion) -> None:
        self.best, self.answered_by, self.accepted = answer, label, True


def sureness(answer: Completion, model: Any, sure_of: Confidence) -> float:
    """How sure the model is of its answer. Raises Unsupported where it does not tell log-probabilities."""
    found = sure_of(answer)
    if found is None:
        hint = "take scorer: text, or a model that tells log-probabilities"
        raise Unsupported(f"{model.name} does not tell how probable its answer is", field="models", hint=hint)
    return found
