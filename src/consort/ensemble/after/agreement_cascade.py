"""A cascade that trusts agreement: where enough cheap models give one answer it is taken, else the strong one is asked.

The idea of consistency as confidence is that of 2310.03094, with different models in place of samples of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.reading import Reading, answer_codes
from consort.ensemble.answers.voting import elected
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.ensemble.learning.fitting import Replay
from consort.ensemble.learning.observations import Observed
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel


@strategy(
    paper="2310.03094",
    ends=("agree", 0, 2),
    exempt={
        "order_of_members_is_free": "the last member is the strong one",
        "a_failed_member_is_named": "two that agree settle the matter before the third is asked",
    },
)
class AgreementCascade:
    """Ask cheap models; if enough of them give the same answer, return it, else the answer of the strong model.

    The last of `models` is the strong one. `agree`: how many must agree (default: all but the strong one; 0 takes the
    first answer that can be read, more than there are asks the strong model at once). `answer` says what of a text is
    compared (see `vote`). Cheap models are asked in order, and none after the matter is decided. Where the strong model
    fails, the answer that most of the others gave is returned. `details` has `answered_by` and `agreed`.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        agree: Annotated[int, Range(0, 10000)] | None = None,
        answer: Reading | None = None,
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.agree, self.answer, self.read = agree, answer, answer or Exact()
        self.needed = max(1, len(self.models) - 1 if agree is None else agree)
        self.name = f"agreement_cascade({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        rows = [_Row() for _ in prompts]
        cheap = len(self.models) - 1
        first = max(0, min(self.needed, cheap - self.needed + 1))
        for start, stop in ((0, first), *((m, m + 1) for m in range(first, cheap))):
            pending = [i for i, row in enumerate(rows) if verdict(row.answers, self.needed, cheap) == "ask"]
            asked = [prompts[i] for i in pending]
            members = range(start, stop)
            outcomes = ask_side_by_side([(self.models[m], asked, sampling.of_rows(pending)) for m in members])
            for m, answers in zip(members, outcomes, strict=True):
                for i, answer in zip(pending, answers, strict=True):
                    said = rows[i].ledger.enter(self.labels[m], self.models[m], answer)
                    rows[i].said.append(said)
                    rows[i].answers.append(None if said is None else self.read(said.text))
        self._escalate(rows, prompts, sampling)
        return [self._completion(row) for row in rows]

    def _escalate(self, rows: Sequence[_Row], prompts: Sequence[Prompt], sampling: Sampling) -> None:
        cheap = len(self.models) - 1
        pending = [i for i, row in enumerate(rows) if verdict(row.answers, self.needed, cheap) != "accept"]
        job = (self.models[-1], [prompts[i] for i in pending], sampling.of_rows(pending))
        for i, outcomes in zip(pending, ask_side_by_side([job])[0], strict=True):
            rows[i].strong = rows[i].ledger.enter(self.labels[-1], self.models[-1], outcomes)

    def _completion(self, row: _Row) -> Completion:
        chosen = elected(row.answers) if row.answers else None
        if chosen is None:
            chosen = next((i for i, c in enumerate(row.said) if c is not None), None)
        agreed = 0 if chosen is None or row.answers[chosen] is None else row.answers.count(row.answers[chosen])
        if row.strong is not None:
            return row.ledger.completion(self, row.strong, answered_by=self.labels[-1], agreed=agreed)
        taken = None if chosen is None else row.said[chosen]
        label = "" if chosen is None else self.labels[chosen]
        return row.ledger.completion(self, taken, answered_by=label, agreed=agreed)

    def replay(self, observed: Observed) -> Replay:
        """What it would have done on observed answers, whose models are this cascade's, in order."""
        codes, cheap = answer_codes(observed, self.read), len(self.models) - 1
        cost = np.full(codes.shape, np.nan) if observed.cost is None else observed.cost
        quality, spent, by = [], [], []
        for i, row in enumerate(codes):
            answers = [None if code < 0 else str(code) for code in row[:cheap]]
            seen = next((k for k in range(cheap + 1) if verdict(answers[:k], self.needed, cheap) != "ask"), cheap)
            accepted = verdict(answers[:seen], self.needed, cheap) == "accept"
            chosen = elected(answers[:seen]) if accepted else None
            by.append(cheap if chosen is None else chosen)
            quality.append(observed.quality[i, by[-1]])
            spent.append(cost[i, :seen].sum() + (0.0 if accepted else cost[i, cheap]))
        return Replay(np.array(quality), np.array(spent), tuple(by))


def verdict(answers: Sequence[str | None], needed: int, cheap: int) -> Literal["accept", "ask", "escalate"]:
    """Whether the answers so far of `cheap` models settle the matter: `needed` agree, or so many no longer can."""
    most = max(Counter(a for a in answers if a is not None).values(), default=0)
    if most >= needed:
        return "accept"
    return "ask" if most + cheap - len(answers) >= needed else "escalate"


class _Row:
    """A prompt on its way: what cheap models said, and what of it can be compared."""

    __slots__ = ("answers", "ledger", "said", "strong")

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.said: list[Completion | None] = []
        self.answers: list[str | None] = []
        self.strong: Completion | None = None
