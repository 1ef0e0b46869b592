"""A vote of models over answers that can be compared (self-consistency's vote, 2203.11171, over different models).

Who votes is determined before the ensemble (2410.03777): `fit` picks a pool that votes better than its best member.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from consort.core.counted import counted
from consort.core.errors import BadData, BadParameter
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.reading import Reading, answer_codes
from consort.ensemble.answers.voting import (
    apart,
    diverse_selection,
    elected,
    forward_selection,
    log_odds,
    order_of,
    shrunk,
    winners,
)
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.ensemble.learning.fitting import Learned, Replay, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel


@strategy(paper="2203.11171")
class Vote:
    """Ask all models and return the answer that most of them give, by number or by weight.

    `answer` says what of a text is compared, a reading (`consort methods --kind reading`): all of it (`exact`, the
    default), without case and punctuation (`words`), its last or first number, the letter of a choice, what a pattern
    finds; what cannot be read does not vote. `weight`: one number of at least 0 for each
    model (default: equal). Ties go to the answer of the model with the higher score, before fitting to the earlier one.
    The completion is that of the best such model. Models of weight 0 are not asked.

    `fit` measures the models' accuracy, picks who votes by `pool` (forward selection by accuracy of the vote or by
    difference of errors, or all) and sets weights by `weighting`: equal, the log-odds of being right among
    `classes` answers (accuracies shrunk towards chance), or the same shared by voters whose errors go together.
    `details` has `asked`, `answered_by` and `votes`; models that fail are in `failed`.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        answer: Reading | None = None,
        weight: Sequence[float] | None = None,
        weighting: Literal["equal", "log_odds", "shared_log_odds"] = "equal",
        classes: Annotated[int, Range(2, 1000000)] = 4,
        pool: Literal["accuracy", "all", "diversity"] = "accuracy",
        state: str = "",
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.answer, self.weight, self.weighting, self.classes = answer, weight, weighting, classes
        self.pool, self.state = pool, state
        self.read = answer or Exact()
        self.given = checked_weights(weight, len(self.models))
        self.learned: Learned | None = None
        self.name = f"vote({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    @property
    def in_use(self) -> list[int]:
        """Numbers of the members that may be asked: the voters."""
        return sorted(self.voters()[0])

    def voters(self) -> tuple[list[int], list[float]]:
        """Who votes, the first winning ties, and the weight of each."""
        if not (self.learned or self.state):
            asked = [m for m, w in enumerate(self.given) if w > 0]
            return asked, [self.given[m] for m in asked]
        values = learned_of(self, "vote").values
        if len(values["weights"]) != len(self.models):
            message = f"is for {counted(len(values['weights']), 'model')}, not {len(self.models)}"
            raise BadData(message, field=self.state or "state", hint="fit the plan again")
        return list(values["voters"]), [float(values["weights"][m]) for m in values["voters"]]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        voters, weights = self.voters()
        outcomes = ask_side_by_side([(self.models[m], prompts, sampling) for m in voters])
        found = []
        for row in range(len(prompts)):
            ledger = Ledger()
            said = [ledger.enter(self.labels[m], self.models[m], outcomes[i][row]) for i, m in enumerate(voters)]
            answers = [None if c is None else self.read(c.text) for c in said]
            chosen = elected(answers, weights)
            if chosen is None:
                chosen = next((i for i, c in enumerate(said) if c is not None), 0)
            votes = {self.labels[m]: answer for m, answer in zip(voters, answers, strict=True)}
            label = self.labels[voters[chosen]]
            found.append(ledger.completion(self, said[chosen], answered_by=label, votes=votes))
        return found

    def fit(self, observed: Observed, *, seed: int = 0) -> Vote:
        """The vote with its pool and weights fitted on observed answers; `seed` plays no part."""
        quality = np.nan_to_num(observed.quality)
        given = answer_codes(observed, self.read)
        scores = [float(a) for a in observed.accuracy]
        weights = self._weights(observed)
        if self.pool == "accuracy":
            voters = forward_selection(given, quality, weights=weights)
        else:
            voters = order_of(scores) if self.pool == "all" else diverse_selection(given, quality)
        voters = [m for m in voters if weights[m] > 0] or voters[:1]
        kept = [w if m in voters else 0.0 for m, w in enumerate(weights)]
        if not any(kept):
            kept[voters[0]] = 1.0
        return with_learned(self, Learned("vote", values={"voters": voters, "weights": kept, "accuracy": scores}))

    def _weights(self, observed: Observed) -> list[float]:
        if self.weighting == "equal":
            return [1.0] * len(self.models)
        weights = log_odds(shrunk(observed.quality, self.classes), self.classes)
        return weights if self.weighting == "log_odds" else apart(weights, observed.quality)

    def replay(self, observed: Observed) -> Replay:
        """What the vote would have been on observed answers."""
        voters, weights = self.voters()
        given = answer_codes(observed, self.read)[:, voters]
        first = np.array(voters)[np.maximum(winners(given, np.array(weights)), 0)]
        cost = np.full(len(observed), np.nan) if observed.cost is None else observed.cost[:, voters].sum(1)
        return Replay(observed.quality[np.arange(len(observed)), first], cost, tuple(map(int, first)))


def checked_weights(weight: Sequence[float] | None, models: int) -> list[float]:
    """One weight for each model, some above 0. Raises BadParameter."""
    given = [1.0] * models if weight is None else [float(w) for w in weight]
    if len(given) != models or not all(w >= 0 for w in given) or not any(given):
        hint = f"{counted(models, 'number')} of at least 0, some above 0"
        raise BadParameter(f"{given} are no weights of {counted(models, 'model')}", field="weight", hint=hint)
    return given
