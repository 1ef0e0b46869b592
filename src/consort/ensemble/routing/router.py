"""What routers share: features of the prompt, estimates, the choice, who steps in for a member that fails."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from consort.core.counted import counted
from consort.core.errors import BadData, BadParameter, Incompatible, Unsupported
from consort.core.params import name_of
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.ensemble.calls import Ledger, Pair, ReadingCost, ask, ask_likelihoods, checked_members, streamed_or_failed
from consort.ensemble.features.ngrams import Ngrams
from consort.ensemble.learning.fitting import Learned, Replay, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Encoder, Features, Rows, encoder_of, unpacked
from consort.ensemble.routing.linear import folds_of
from consort.models.base import LanguageModel
from consort.models.cached.model import text_of
from consort.models.cost import joined


class Router(ABC):
    """A model that has one of `models` answer: the one of largest `predict` less lambda times its price.

    Of equal ones the one that was better on all observed queries, then the cheaper. A member that fails is replaced by
    the next best. `details` of an answer has `chosen`, `scores` (after the price) by model, `why`, `asked`, and
    `failed` with reasons.

    A router is one of two kinds. `estimate` gives the expected quality of every model; or, for routers between a strong
    and a weak model (`models` are then these two), the strong one's score and the threshold it is held against.

    `learn` and `estimate` see the models in an order that follows from the observed data alone (`Observed.ranking`), so
    that nothing depends on the order in which models are given: of a value for each model they take
    `values[self.order]`.
    """

    streams: ClassVar[str] = "accepted"
    needs_features: ClassVar[bool] = True
    needs_fit: bool = True

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        cost: Sequence[float] | None = None,
        lambda_: float = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.cost, self.lambda_, self.features, self.state = cost, lambda_, features, state
        if cost is not None and (len(cost) != len(self.models) or min(cost) < 0):
            message = f"{list(cost)} are no costs of {counted(len(self.models), 'model')}"
            raise BadParameter(message, field="cost", hint="one number of at least 0 for each")
        self.seen = features or Ngrams()
        self.threshold: float | None = None
        self.kind = name_of(type(self).__name__)
        self.name = f"{self.kind}({', '.join(m.name for m in self.models)})"
        self.learned: Learned | None = None
        self.ordering: list[int] | None = None
        """The order while it is being fitted; later it is part of what was learned."""
        self._encoder: tuple[Learned, Encoder] | None = None
        self._columns: tuple[Learned, Rows] | None = None

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    @property
    def gives_logprob(self) -> bool:
        return all(getattr(model, "gives_logprob", True) for model in self.models)

    @abstractmethod
    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        """What the router learns from the features `rows` of observed queries."""

    @abstractmethod
    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        """Scores of every model for each query; larger is better."""

    @property
    def by_role(self) -> bool:
        """Whether the models stand for a strong and a weak one, and so in an order of their own."""
        return hasattr(self, "strong")

    @property
    def order(self) -> list[int]:
        """The number among `models` of each model that `learn` and `estimate` see, in their order."""
        if self.ordering is not None:
            return self.ordering
        known = self.learned_values.get("order") if self.needs_fit or self.learned or self.state else None
        return list(known or range(len(self.models)))

    def fit(self, observed: Observed, *, seed: int = 0, encoder: Encoder | None = None) -> Any:
        """The same router, fitted on the observed answers of its models, by their names where these are the same.

        `encoder` shares features that have been computed. Raises BadData, Incompatible.
        """
        if len(observed.models) != len(self.models):
            what = f"{len(observed.models)} models were observed, the router has {len(self.models)}"
            raise Incompatible(what, field=self.name, hint="observe the router's own models")
        observed, rows, shared = observed.named(self.labels).known(), None, {}
        order = list(range(len(self.models))) if self.by_role else observed.ranking()
        learner = copy.copy(self)
        learner.ordering = order
        if self.needs_features:
            encoder = encoder or self.seen.fitted(observed.queries)
            rows, shared = encoder.rows(observed.queries), encoder.arrays()
        found = learner.learn(rows, observed.columns(order), seed)
        kept = {"prices": observed.prices().tolist(), "order": order}
        learned = Learned(self.kind, {**shared, **found.arrays}, {**kept, **found.values})
        fitted = with_learned(self, learned)
        fitted._encoder = None if encoder is None else (learned, encoder)
        return fitted

    def predict(self, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        """`estimate` of texts. Raises BadParameter where the router is not fitted."""
        estimates = self.estimate(self._rows(texts) if self.needs_features else None, texts)
        return self.as_given(estimates)

    def as_given(self, estimates: Float[np.ndarray, "query model"]) -> Float[np.ndarray, "query model"]:
        """Columns in the order of `models`, from those of `estimate`."""
        return np.asarray(estimates[:, np.argsort(self.order)])

    def scores(self, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        """What is chosen by: estimates less lambda times price."""
        return self.predict(texts) - self.lambda_ * self.prices

    def judged(self, texts: Sequence[str]) -> tuple[Float[np.ndarray, "query model"], list[list[Any]]]:
        """Scores, and what each took: pairs of a model that was asked for its judgement and the cost of that."""
        return self.scores(texts), [[] for _ in texts]

    def choose(self, texts: Sequence[str]) -> Int[np.ndarray, " query"]:
        """The number of the model that each text would go to."""
        return self.ranked(self.scores(texts))[:, 0]

    def ranked(self, scores: Float[np.ndarray, "query model"]) -> Int[np.ndarray, "query model"]:
        """The numbers of the models, the best first; of equal ones in the order that `learn` sees."""
        order = np.array(self.order)
        return order[np.argsort(-scores[:, order], axis=1, kind="stable")]

    @property
    def in_use(self) -> list[int]:
        """Numbers of the members that may be chosen, as far as can be proved; the others need not be there."""
        return list(range(len(self.models)))

    @property
    def prices(self) -> Float[np.ndarray, " model"]:
        """Of each model: as given, else the mean observed, else 0."""
        if self.cost is not None:
            return np.asarray(self.cost, dtype=float)
        known = self.learned_values.get("prices") if self.needs_fit else None
        return np.asarray(known or [0.0] * len(self.models), dtype=float)

    @property
    def learned_values(self) -> Any:
        """The plain values of what was learned. Raises BadParameter where nothing was."""
        return learned_of(self, self.kind).values

    @property
    def learned_arrays(self) -> Any:
        """The arrays of what was learned. Raises BadParameter where nothing was."""
        return learned_of(self, self.kind).arrays

    def replay(self, observed: Observed) -> Replay:
        """What the router would have done on observed answers."""
        observed = observed.named(self.labels)
        chosen = self.choose(observed.queries)
        at = np.arange(len(observed)), chosen
        cost = np.full(len(observed), np.nan) if observed.cost is None else observed.cost[at]
        return Replay(observed.quality[at], cost, tuple(map(int, chosen)))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        if not prompts:
            return []
        scores, spent = self.judged([text_of(prompt) for prompt in prompts])
        order = self.ranked(scores)
        ledgers = [Ledger(costs=list(parts)) for parts in spent]
        answers: list[Completion | None] = [None] * len(prompts)
        for rank in range(len(self.models)):
            pending = [i for i, answer in enumerate(answers) if answer is None]
            for m, model in enumerate(self.models):
                rows = [i for i in pending if order[i, rank] == m]
                outcomes = ask(model, [prompts[i] for i in rows], sampling.of_rows(rows))
                for i, one in zip(rows, outcomes, strict=True):
                    answers[i] = ledgers[i].enter(self.labels[m], model, one)
        return [self._completed(*row) for row in zip(ledgers, answers, scores, order, strict=True)]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the chosen member's answer; where it fails before its first piece, of the next best's."""
        scores, spent = self.judged([text_of(prompt)])
        order = self.ranked(scores)
        ledger = Ledger(costs=list(spent[0]))
        for m in map(int, order[0]):
            outcome = yield from streamed_or_failed(self.models[m], prompt, sampling, cancel)
            answer = ledger.enter(self.labels[m], self.models[m], outcome)
            if answer is not None:
                return self._completed(ledger, answer, scores[0], order[0])
        raise ledger.nobody()

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Log-likelihood (nats) of each continuation by the member that its context goes to (see `read_pairs`)."""
        return self.read_pairs(pairs)[0]

    def read_pairs(self, pairs: Sequence[Pair]) -> tuple[list[float], Usage, dict[str, Usage]]:
        """The same, how much was read, and what that cost by name.

        All continuations of a context have one judge, so that they can be compared: a member that fails at one of them
        is replaced by the next best for all. Raises Unsupported where a member does not tell log-likelihoods.
        """
        for model in self.models:
            if not hasattr(model, "score"):
                hint = "route among models that score, or take a metric that only needs answers"
                raise Unsupported("does not tell log-likelihoods", field=model.name, hint=hint)
        rows: dict[str, list[int]] = {}
        for i, (context, _) in enumerate(pairs):
            rows.setdefault(context, []).append(i)
        scores, spent = self.judged(list(rows)) if rows else (np.empty((0, len(self.models))), [])
        left = dict(zip(rows, self.ranked(scores).tolist(), strict=True))
        found, reading, failures = [0.0] * len(pairs), ReadingCost(), []
        for rank in range(len(self.models)):
            for m, model in enumerate(self.models):
                mine = [context for context, order in left.items() if order[rank] == m]
                groups = [[pairs[i] for i in rows[context]] for context in mine]
                for context, outcomes in zip(mine, ask_likelihoods(model, groups, reading), strict=True):
                    if isinstance(outcomes, Exception):
                        failures.append(outcomes)
                        continue
                    del left[context]
                    for i, value in zip(rows[context], outcomes, strict=True):
                        found[i] = value
        if left:
            raise failures[0]
        judging = [part for parts in spent for part in parts]
        cost = joined(self, [*judging, *((model, cost) for model, _, cost in reading)])
        return found, sum((usage for _, usage, _ in reading), Usage()), cost

    def _completed(self, ledger: Ledger, answer: Completion | None, scores: Any, order: Any) -> Completion:
        if answer is None:
            raise ledger.nobody()
        by_model = {label: round(float(s), 6) for label, s in zip(self.labels, scores, strict=True)}
        chosen = ledger.asked[-1]
        return ledger.completion(self, answer, chosen=chosen, scores=by_model, why=self._why(chosen, order, ledger))

    def _why(self, chosen: str, order: Any, ledger: Ledger) -> str:
        """One clause: best by score, or best of those that did not fail."""
        priced = f" less {self.lambda_:g} times the price" if self.lambda_ else ""
        if ledger.failed:
            return f"{', '.join(ledger.failed)} failed; {chosen} is next by {self.kind}{priced}"
        return f"{chosen} has the largest score by {self.kind}{priced}"

    def _rows(self, texts: Sequence[str]) -> Rows:
        learned = learned_of(self, self.kind)
        if self._encoder is None or self._encoder[0] is not learned:
            self._encoder = learned, encoder_of(learned, self.seen)
        return self._encoder[1].rows(texts)

    def columns(self) -> Rows:
        """The observed queries, feature by feature, of a router that keeps them; put together once."""
        learned = learned_of(self, self.kind)
        if self._columns is None or self._columns[0] is not learned:
            self._columns = learned, unpacked(learned, "columns")
        return self._columns[1]


def threshold_in_use(router: Router) -> float:
    """The threshold given, else the one calibrated."""
    return float(router.learned_values["threshold"]) if router.threshold is None else router.threshold


def calibrated(
    kind: str,
    train: Callable[[Rows, Observed], Mapping[str, np.ndarray]],
    score: Callable[[Mapping[str, np.ndarray], Rows], Float[np.ndarray, " query"]],
    rows: Rows,
    observed: Observed,
    share: float,
    seed: int,
) -> Learned:
    """What `train` learns from all queries, and the threshold that sends `share` of those held out to the strong model.

    A fifth of the queries, drawn by `seed`, is scored by what is learned from the others.
    """
    fold = folds_of(len(observed), seed, observed.groups)
    seen, unseen = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    if not len(seen):
        raise BadData("one query is not enough to calibrate on", field="queries", hint="give two, better hundreds")
    held_out = score(train(rows[seen], observed.rows(seen)), rows[unseen])
    return Learned(kind, train(rows, observed), {"threshold": threshold_of(held_out, share)})


def threshold_of(scores: Float[np.ndarray, " query"], share: float) -> float:
    """The threshold at which this share of calibration queries goes to the strong model: the (1 - share) quantile."""
    return float(np.quantile(scores, 1 - share))


def held_against(scores: Float[np.ndarray, " query"], threshold: float) -> Float[np.ndarray, "query 2"]:
    """Estimates of a router between a strong and a weak model: strong where the score is at least the threshold."""
    return np.stack([scores, np.full(len(scores), threshold)], axis=1)
