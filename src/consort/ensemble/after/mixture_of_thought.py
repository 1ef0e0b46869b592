"""Mixture-of-thought cascade (2310.03094): a weak model answers many times in several styles, a strong one in doubt.

The paper has two styles, chain and program of thought; here a style is any way of putting the prompt, and code that an
answer holds is not run. Beside the paper's two rules there is one that is learned.
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
from consort.ensemble.answers.acceptance import Sets, agree, chance_right, features, fit_rule, share, top_answer
from consort.ensemble.answers.reading import Reading
from consort.ensemble.answers.samples import Sample, checked_template, in_style, samples_of
from consort.ensemble.calls import Ledger, ask_side_by_side
from consort.ensemble.learning.fitting import Learned, Replay, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel
from consort.models.cost import distinct


@strategy(paper="2310.03094", ends=("threshold", 0.0, 2.0))
class MixtureOfThought:
    """Sample a weak model in several styles; return its top answer where that can be believed, else ask the strong one.

    `styles`: what the prompt is put into, `{prompt}` in each; `samples` of each style are drawn, at `temperature` if
    the request is greedy. `rule`: believe the top answer if its share is at least `threshold` (`vote`), if the majority
    of every style is the same (`verify`), or if a fitted chance that it is right is high enough (`learned`; `fit` sets
    it so that the share `escalate` of its examples is asked again). Threshold 0 never asks the strong model, above 1
    always. `answer` as for `vote`; samples that cannot be read count against the share. If the strong model fails, the
    top answer stands. `details` has `answered_by`, `share` and `agreement`.
    """

    def __init__(
        self,
        weak: LanguageModel,
        strong: LanguageModel,
        *,
        styles: Sequence[str] = ("{prompt}", "{prompt}"),
        samples: Annotated[int, Range(1, 10000)] = 7,
        rule: Literal["learned", "verify", "vote"] = "vote",
        threshold: Annotated[float, Range(0, 2)] = 0.6,
        escalate: Annotated[float, Range(0, 1)] = 0.25,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        answer: Reading | None = None,
        state: str = "",
    ) -> None:
        self.weak, self.strong, self.samples, self.rule = weak, strong, samples, rule
        self.styles = tuple(checked_template(style, "styles", "prompt") for style in styles)
        self.threshold, self.escalate, self.temperature = threshold, escalate, temperature
        self.answer, self.state, self.read = answer, state, answer or Exact()
        if not self.styles:
            raise BadParameter("there is no style", field="styles", hint="give one, {prompt} in it")
        self.labels = distinct([weak.name, strong.name])
        self.learned: Learned | None = None
        self.name = f"mixture_of_thought({weak.name}, {strong.name})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (self.weak, self.strong)

    @property
    def models(self) -> Sequence[LanguageModel]:
        """What `fit` and `replay` want observed: the samples, style by style, and the strong model last."""
        views = [
            Sample(self.weak, number, style=style, temperature=self.temperature)
            for style, numbers in zip(self.styles, self._numbers(), strict=True)
            for number in numbers
        ]
        return (*views, self.strong)

    def place(self, number: int) -> int:
        """The number among the members of the model that `models[number]` asks."""
        return int(number == len(self.models) - 1)

    def _numbers(self) -> list[range]:
        """The numbers of each style's samples: equal styles must not draw equal answers."""
        return [range(s * self.samples, (s + 1) * self.samples) for s in range(len(self.styles))]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        ledgers = [Ledger() for _ in prompts]
        said = self._sampled(prompts, sampling, ledgers)
        sets = [[[None if c is None else self.read(c.text) for c in style] for style in row] for row in said]
        doubted = [i for i, row in enumerate(sets) if not self._believed([row])[0]]
        job = (self.strong, [prompts[i] for i in doubted], sampling.of_rows(doubted))
        strong = dict(zip(doubted, ask_side_by_side([job])[0], strict=True))
        found = []
        for i, (ledger, row) in enumerate(zip(ledgers, said, strict=True)):
            answer = ledger.enter(self.labels[1], self.strong, strong[i]) if i in strong else None
            by = self.labels[0] if answer is None else self.labels[1]
            taken = self._top(row, sets[i]) if answer is None else answer
            details = {"answered_by": by, "share": share(sets[i]), "agreement": agree(sets[i])}
            found.append(ledger.completion(self, taken, **details))
        return found

    def _sampled(
        self, prompts: Sequence[Prompt], sampling: Sampling, ledgers: Sequence[Ledger]
    ) -> list[list[list[Completion | None]]]:
        """Samples by prompt and style."""
        said: list[list[list[Completion | None]]] = [[] for _ in prompts]
        for style, numbers in zip(self.styles, self._numbers(), strict=True):
            asked, warm = samples_of(prompts, sampling, numbers, self.temperature)
            [outcomes] = ask_side_by_side([(self.weak, [in_style(p, style) for p in asked], warm)])
            for i, ledger in enumerate(ledgers):
                own = outcomes[i * self.samples : (i + 1) * self.samples]
                said[i].append([ledger.enter(self.labels[0], self.weak, h) for h in own])
        return said

    def _believed(self, rows: Sequence[Sets]) -> list[bool]:
        if self.rule == "verify":
            return [agree(sets) for sets in rows]
        if self.rule == "vote":
            return [share(sets) >= self.threshold for sets in rows]
        learned = learned_of(self, "mixture_of_thought")
        if len(learned.values["weight"]) != len(features([["x"]])) - 1 + len(self.styles):
            raise BadData("is for another number of styles", field=self.state or "state", hint="fit the plan again")
        chances = chance_right(np.array([features(sets) for sets in rows]), learned)
        return [bool(chance >= learned.values["threshold"]) for chance in chances]

    def _top(self, row: Sequence[Sequence[Completion | None]], sets: Sets) -> Completion | None:
        """The first sample that gives the top answer, else the first there is."""
        flat = [(c, a) for said, read in zip(row, sets, strict=True) for c, a in zip(said, read, strict=True)]
        top = top_answer(sets)
        return next((c for c, a in flat if c is not None and a == top), next((c for c, _ in flat if c), None))

    def fit(self, observed: Observed, *, seed: int = 0) -> MixtureOfThought:
        """The same with a learned rule; `observed` has the samples, style by style, and the strong model last."""
        sets, right = self._observed(observed)
        table = np.array([features(row) for row in sets])
        return with_learned(self, fit_rule(table, [q >= 0.5 for q in right], self.escalate))

    def replay(self, observed: Observed) -> Replay:
        """What it would have answered to observed queries."""
        sets, weak = self._observed(observed)
        believed = np.array(self._believed(sets))
        cost = np.full(observed.quality.shape, np.nan) if observed.cost is None else observed.cost
        spent = cost[:, :-1].sum(1) + np.where(believed, 0.0, cost[:, -1])
        quality = np.where(believed, weak, observed.quality[:, -1])
        return Replay(quality, spent, tuple(-1 if b else len(observed.models) - 1 for b in believed))

    def _observed(self, observed: Observed) -> tuple[list[list[list[str | None]]], np.ndarray]:
        """What can be read of the samples, by query and style, and the quality of their top answer."""
        width = len(self.styles) * self.samples
        if len(observed.models) != width + 1 or not observed.answers:
            hint = f"{width} columns of the weak model's answers, style by style, and one of the strong model"
            raise BadData(f"{counted(len(observed.models), 'column')} of answers", field="observed", hint=hint)
        flat = [[None if text is None else self.read(text) for text in row[:-1]] for row in observed.answers]
        sets = [[row[i : i + self.samples] for i in range(0, width, self.samples)] for row in flat]
        tops = [top_answer(row) for row in sets]
        first = [row.index(top) if top is not None else 0 for row, top in zip(flat, tops, strict=True)]
        return sets, observed.quality[np.arange(len(flat)), first]
