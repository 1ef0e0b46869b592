"""As many answers as it takes to know the most frequent one, and no more (2509.21091).

Answers are drawn one after the other until the leading one is the most likely one beyond doubt: a Bayes factor, here by
the exact integral (`ensemble/answers/stopping.py`), in place of random draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.after.vote import checked_weights
from consort.ensemble.answers.reading import Reading
from consort.ensemble.answers.samples import STEP, row_seeds
from consort.ensemble.answers.stopping import bayes_factor
from consort.ensemble.calls import Ledger, ask, checked_members
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel


@strategy(paper="2509.21091", exempt={"copies_are_the_model": "answers are sampled, greedy requests too"})
class BestOfInfinity:
    """Draw answers until the leading one leads by a Bayes factor of `factor`, or `most` are drawn; return it.

    `models` are asked in turn, each as often as its `weight` says (default: equally). `answer` as for `vote`; what
    cannot be read counts as drawn, for nobody. A greedy request is sampled at `temperature`. A tie never stops.
    `details` has `answered_by`, `samples` and `stopped`; the share of the leading answer is too high where drawing
    stopped, and is no confidence. Of equally frequent answers the first given wins.
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
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.factor, self.most, self.weight, self.temperature = factor, most, weight, temperature
        self.answer, self.read = answer, answer or Exact()
        self.given = checked_weights(weight, len(self.models))
        self.name = f"best_of_infinity({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        rows = [_Drawn(prompt, seed) for prompt, seed in zip(prompts, row_seeds(prompts, sampling), strict=True)]
        for _ in range(self.most):
            going = [row for row in rows if not row.stopped and len(row.failed) < len(self.models)]
            if not going:
                break
            turns = [row.next_model(self.given) for row in going]
            for m, model in enumerate(self.models):
                mine = [row for row, turn in zip(going, turns, strict=True) if turn == m]
                seeds = tuple(row.seed + STEP * row.times[m] for row in mine)
                warm = replace(sampling, seeds=seeds, temperature=sampling.temperature or self.temperature)
                for row, outcome in zip(mine, ask(model, [row.prompt for row in mine], warm), strict=True):
                    answer = row.ledger.enter(self.labels[m], model, outcome)
                    row.enter(m, answer, None if answer is None else self.read(answer.text), self.factor)
        return [row.completion(self) for row in rows]


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
