"""Models in order, each sampled several times, until one agrees with itself (2504.00762).

Where none does, all samples vote. A model's vote is worth 1 - H / log k, H the entropy of its k answers, times a weight
of its own; these weights are not verified against the paper's programme.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Annotated

from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.after.vote import checked_weights
from consort.ensemble.answers.reading import Reading
from consort.ensemble.answers.samples import draws
from consort.ensemble.answers.stopping import entropy
from consort.ensemble.answers.voting import elected
from consort.ensemble.calls import Ledger, ask, checked_members
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel


@strategy(
    paper="2504.00762",
    exempt={
        "copies_are_the_model": "answers are sampled, greedy requests too",
        "order_of_members_is_free": "the first model that agrees with itself answers",
        "a_failed_member_is_named": "a member after one that agrees with itself is never asked",
    },
)
class ModelSwitch:
    """Sample models one after the other; the first whose `samples` agree answers, else all samples vote.

    Agree: the share of a model's top answer is at least `agree` (above 1: never, all vote). `weight`: what a model is
    worth in the vote beside how much it agrees with itself. `answer` as for `vote`; what cannot be read counts against
    the share and does not vote. A greedy request is sampled at `temperature`; a single sample stays greedy, and agrees.
    `details` has `answered_by`, `switched` (how many models were passed over) and `share` of the top answer, by model.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        samples: Annotated[int, Range(1, 10000)] = 5,
        agree: Annotated[float, Range(0, 2)] = 1.0,
        weight: Sequence[float] | None = None,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        answer: Reading | None = None,
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.samples, self.agree, self.weight, self.temperature = samples, agree, weight, temperature
        self.answer, self.read = answer, answer or Exact()
        self.given = checked_weights(weight, len(self.models))
        self.name = f"model_switch({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        rows = [_Asked() for _ in prompts]
        for m, model in enumerate(self.models):
            going = [i for i, row in enumerate(rows) if row.taken is None]
            asked, warm = draws([prompts[i] for i in going], sampling.of_rows(going), self.samples, self.temperature)
            outcomes = ask(model, asked, warm)
            for place, i in enumerate(going):
                own = outcomes[place * self.samples : (place + 1) * self.samples]
                said = [rows[i].ledger.enter(self.labels[m], model, one) for one in own]
                rows[i].enter(m, [c for c in said if c is not None], self)
        return [row.completion(self) for row in rows]


@dataclass(slots=True)
class _Asked:
    """What models said to one prompt."""

    ledger: Ledger = field(default_factory=Ledger)
    said: list[tuple[int, Completion, str | None, float]] = field(default_factory=list)
    """Model, completion, what is read of it, what it is worth."""
    shares: dict[str, float] = field(default_factory=dict)
    taken: tuple[int, Completion] | None = None

    def enter(self, model: int, answers: Sequence[Completion], owner: ModelSwitch) -> None:
        """A model's samples; it answers where they agree."""
        read = [owner.read(c.text) for c in answers]
        counts = Counter(a for a in read if a is not None)
        worth = owner.given[model] * consistency(list(counts.values()), owner.samples)
        self.said += [(model, c, a, worth) for c, a in zip(answers, read, strict=True)]
        top = max(counts, key=lambda a: counts[a], default=None)
        share = counts[top] / owner.samples if top is not None else 0.0
        self.shares[owner.labels[model]] = share
        if top is not None and share >= owner.agree:
            self.taken = model, answers[read.index(top)]

    def completion(self, owner: ModelSwitch) -> Completion:
        """The answer of who agrees, else of the vote. Raises the first model's error where there is none."""
        switched = len(self.shares) - (self.taken is not None)
        if self.taken is None and self.said:
            chosen = elected([a for _, _, a, _ in self.said], [w for _, _, _, w in self.said])
            model, answer, _, _ = self.said[chosen or 0]
            self.taken = model, answer
        model, answer = self.taken or (0, None)  # type: ignore[assignment]
        told = {"answered_by": owner.labels[model], "switched": switched, "share": self.shares}
        return self.ledger.completion(owner, answer, **told)


def consistency(counts: Sequence[int], samples: int) -> float:
    """1 - H / log k, in [0, 1]; 1 for a single sample, 0 for none.

    >>> round(consistency([4, 1], 5), 6)
    0.689082
    """
    if not counts:
        return 0.0
    return 1.0 if samples < 2 else max(0.0, 1 - entropy(counts) / log(samples))
