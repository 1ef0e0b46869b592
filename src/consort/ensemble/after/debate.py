"""Debate (2305.14325): agents answer, read the others' answers, answer again, and at the end they vote.

A debate whose agents all agree is over: the paper lets it go on to the last round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from consort.core.params import Range
from consort.core.types import Completion, Message, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.prompts import numbered
from consort.ensemble.answers.reading import Reading
from consort.ensemble.answers.samples import STEP, checked_template, filled, row_seeds
from consort.ensemble.answers.voting import elected
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel

OTHERS = (
    "Others have answered as follows:\n\n{answers}\n\nTake their reasons into account, check your own, and give your "
    "answer again in the form that was asked for."
)


@strategy(paper="2305.14325")
class Debate:
    """Let models answer, then read the others' answers and answer again, for `rounds` rounds; the last answers vote.

    `answer` says what of a text is compared (see `vote`). `others` is what an agent reads of them, {answers} in it: a
    chat goes on with its own answer and this, a text is followed by both. A greedy request is sampled at `temperature`
    (0: stays greedy), which lets one model stand several times. An agent that fails keeps its last answer, or is
    skipped. `details` has `answered_by`, the last `votes`, and how many `rounds` it took.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        rounds: Annotated[int, Range(1, 20)] = 2,
        answer: Reading | None = None,
        temperature: Annotated[float, Range(0, 100)] = 0.0,
        others: str | None = None,
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.rounds, self.answer, self.read, self.temperature = rounds, answer, answer or Exact(), temperature
        self.others = others
        self.wording = checked_template(OTHERS if others is None else others, "others", "answers")
        self.name = f"debate({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        ledgers = [Ledger() for _ in prompts]
        said: list[list[Completion | None]] = [[None] * len(self.models) for _ in prompts]
        lasted = [0] * len(prompts)
        seeds = row_seeds(prompts, sampling)
        for number in range(self.rounds):
            open_ = [i for i, row in enumerate(said) if number == 0 or self._differ(row)]
            jobs = [
                self._job(prompts, said, open_, k, number, replace(sampling, seeds=seeds))
                for k in range(len(self.models))
            ]
            outcomes = ask_side_by_side(jobs)
            for place, i in enumerate(open_):
                lasted[i] = number + 1
                for k, model in enumerate(self.models):
                    answer = ledgers[i].enter(self.labels[k], model, outcomes[k][place])
                    said[i][k] = said[i][k] if answer is None else answer
        return [self._completion(*row) for row in zip(ledgers, said, lasted, strict=True)]

    def _differ(self, row: Sequence[Completion | None]) -> bool:
        answers = {self.read(c.text) for c in row if c is not None}
        return len(answers) > 1 or answers == {None}

    def _job(
        self,
        prompts: Sequence[Prompt],
        said: Sequence[Sequence[Completion | None]],
        rows: Sequence[int],
        agent: int,
        number: int,
        sampling: Sampling,
    ) -> tuple[LanguageModel, list[Prompt], Sampling]:
        asked = [self._asked(prompts[i], said[i], agent) if number else prompts[i] for i in rows]
        step = STEP * (number * len(self.models) + agent)
        seeds = tuple(sampling.seeds[i] + step for i in rows)
        warm = replace(sampling, seeds=seeds, temperature=sampling.temperature or self.temperature)
        return self.models[agent], asked, warm

    def _asked(self, prompt: Prompt, row: Sequence[Completion | None], agent: int) -> Prompt:
        """The prompt with the agent's own answer, if it has one, and what the others say."""
        own = row[agent]
        others_say = filled(
            self.wording, answers=numbered([c.text for k, c in enumerate(row) if k != agent and c is not None])
        )
        if isinstance(prompt, str):
            return "\n\n".join([prompt, *([] if own is None else [own.text]), others_say])
        mine = [] if own is None else [Message(role="assistant", content=own.text)]
        return [*prompt, *mine, Message(role="user", content=others_say)]

    def _completion(self, ledger: Ledger, row: Sequence[Completion | None], lasted: int) -> Completion:
        answers = [None if c is None else self.read(c.text) for c in row]
        chosen = elected(answers)
        if chosen is None:
            chosen = next((k for k, c in enumerate(row) if c is not None), 0)
        votes = dict(zip(self.labels, answers, strict=True))
        return ledger.completion(self, row[chosen], answered_by=self.labels[chosen], votes=votes, rounds=lasted)
