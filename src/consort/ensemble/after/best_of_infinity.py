"""As many answers as it takes to know the most frequent one, and no more (2509.21091).

Answers are drawn one after the other until the leading one is the most likely one beyond doubt: a Bayes factor, here by
the exact integral (`ensemble/answers/stopping.py`), in place of random draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from consort.core.errors import BadData
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.after.vote import checked_weights
from consort.ensemble.answers.optimal_weights import Question, optimal_weights
from consort.ensemble.answers.reading import Reading
from consort.ensemble.answers.samples import STEP, row_seeds
from consort.ensemble.answers.stopping import bayes_factor
from consort.ensemble.calls import Ledger, ask, checked_members
from consort.ensemble.learning.fitting import Learned, Replay, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel


@strategy(paper="2509.21091", exempt={"copies_are_the_model": "answers are sampled, greedy requests too"})
class BestOfInfinity:
    """Draw answers until the leading one leads by a Bayes factor of `factor`, or `most` are drawn; return it.

    `models` are asked in turn, each as often as its `weight` says (default: equally). `answer` as for `vote`; what
    cannot be read counts as drawn, for nobody. A greedy request is sampled at `temperature`. A tie never stops.
    `details` has `answered_by`, `samples` and `stopped`; the share of the leading answer is too high where drawing
    stopped, and is no confidence. Of equally frequent answers the first given wins.

    `fit` sets the weights by which most observed questions have a right mode; rows of one prompt are samples of it.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        factor: Annotated[float, Range(1, 1000000000)] = 10.0,
        most: Annotated[int, Range(1, 100000)] = 100,
        weight: Sequence[float] | None = None,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        answer: Reading | None = None,
        state: str = "",
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.factor, self.most, self.weight, self.temperature = factor, most, weight, temperature
        self.answer, self.read, self.state = answer, answer or Exact(), state
        self.given = checked_weights(weight, len(self.models))
        self.learned: Learned | None = None
        self.name = f"best_of_infinity({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    @property
    def weights(self) -> list[float]:
        """How often each model is asked, relative to the others: as learned, else as given."""
        if not (self.learned or self.state):
            return self.given
        values = learned_of(self, "best_of_infinity").values["weights"]
        return checked_weights(values, len(self.models))

    @property
    def in_use(self) -> list[int]:
        """Numbers of the members that are asked."""
        return [m for m, weight in enumerate(self.weights) if weight > 0]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        rows = [_Drawn(prompt, seed) for prompt, seed in zip(prompts, row_seeds(prompts, sampling), strict=True)]
        weights = self.weights
        for _ in range(self.most):
            going = [row for row in rows if not row.stopped and len(row.failed) < len(self.models)]
            if not going:
                break
            turns = [row.next_model(weights) for row in going]
            for m, model in enumerate(self.models):
                mine = [row for row, turn in zip(going, turns, strict=True) if turn == m]
                seeds = tuple(row.seed + STEP * row.times[m] for row in mine)
                warm = replace(sampling, seeds=seeds, temperature=sampling.temperature or self.temperature)
                for row, outcome in zip(mine, ask(model, [row.prompt for row in mine], warm), strict=True):
                    answer = row.ledger.enter(self.labels[m], model, outcome)
                    row.enter(m, answer, None if answer is None else self.read(answer.text), self.factor)
        return [row.completion(self) for row in rows]

    def fit(self, observed: Observed, *, seed: int = 0) -> BestOfInfinity:
        """The same with the weights of most questions right; `seed` plays no part. Raises BadData without texts."""
        questions = [question for question, _ in _questions(observed, self.read)]
        found = optimal_weights(questions)
        values = {"weights": list(found.values), "right": found.right, "of": len(questions), "proven": found.proven}
        return with_learned(self, Learned("best_of_infinity", values=values))

    def replay(self, observed: Observed) -> Replay:
        """The quality of the mode of what was observed of each question, given to all of its rows; cost of one draw."""
        weights = np.array(self.weights) / sum(self.weights)
        quality = np.zeros(len(observed))
        for question, rows in _questions(observed, self.read):
            mixed = weights @ question.shares
            quality[rows] = question.right[mixed.argmax()] if mixed.any() else 0.0
        cost = np.full(len(observed), np.nan) if observed.cost is None else observed.cost @ weights
        return Replay(quality, cost)


def _questions(observed: Observed, read: Reading) -> list[tuple[Question, list[int]]]:
    """The different prompts, with their rows: of each model the shares of its answers, by what they read as.

    An answer is right where most rows that gave it were. What cannot be read counts as drawn, for nobody.
    """
    rows_of: dict[str, list[int]] = {}
    for row, text in enumerate(observed.queries):
        rows_of.setdefault(text, []).append(row)
    if not observed.answers:
        raise BadData("the answers' texts are not known", field="answers", hint="weights need texts to compare")
    return [(_question(observed.rows(rows), read), rows) for rows in rows_of.values()]


def _question(samples: Observed, read: Reading) -> Question:
    texts = [[None if text is None else read(text) for text in row] for row in samples.answers]
    names = list(dict.fromkeys(text for row in texts for text in row if text is not None))
    shares, worth = np.zeros((len(samples.models), len(names))), np.zeros(len(names))
    for row, qualities in zip(texts, np.nan_to_num(samples.quality), strict=True):
        for model, (text, quality) in enumerate(zip(row, qualities, strict=True)):
            if text is not None:
                shares[model, names.index(text)] += 1 / len(samples)
                worth[names.index(text)] += quality - 0.5
    return Question(shares, worth > 0)


@dataclass(slots=True)
class _Drawn:
    """What has been drawn for one prompt."""

    prompt: Prompt
    seed: int
    ledger: Ledger = field(default_factory=Ledger)
    counts: Counter[str] = field(default_factory=Counter)
    firsts: dict[str | None, tuple[Completion, int]] = field(default_factory=dict)
    times: Counter[int] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)
    stopped: bool = False

    def next_model(self, weights: Sequence[float]) -> int:
        """The one that is furthest behind its weight."""
        usable = [m for m, w in enumerate(weights) if w > 0 and m not in self.failed]
        usable = usable or [m for m in range(len(weights)) if m not in self.failed]
        return min(usable, key=lambda m: ((self.times[m] + 1) / max(weights[m], 1e-12), m))

    def enter(self, model: int, answer: Completion | None, read: str | None, factor: float) -> None:
        """One more answer of a model, None where it failed."""
        self.times[model] += 1
        if answer is None:
            self.failed.add(model)
            return
        self.firsts.setdefault(read, (answer, model))
        if read is not None:
            self.counts[read] += 1
            self.stopped = bayes_factor(list(self.counts.values())) >= factor

    def completion(self, owner: BestOfInfinity) -> Completion:
        """The leading answer. Raises the first model's error where there is none."""
        lead = max(self.counts, key=lambda a: self.counts[a], default=None)
        taken, model = self.firsts.get(lead, (None, 0))
        told = {"samples": sum(self.times.values()), "stopped": self.stopped}
        return self.ledger.completion(owner, taken, answered_by=owner.labels[model], **told)
