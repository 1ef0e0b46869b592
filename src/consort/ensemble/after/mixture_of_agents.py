"""Mixture of agents (2406.04692): layers of proposers, each seeing the answers of the layer before, then an aggregator.

Every proposer of a layer and the aggregator receive the previous answers as a numbered list under an instruction to
make one good answer of them. The instruction here is our own; the paper's says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.prompts import with_answers
from consort.ensemble.answers.samples import STEP, checked_template, row_seeds
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.models.base import LanguageModel
from consort.models.cost import distinct

AGGREGATE = (
    "Several assistants have answered the request below. Write the best single answer to it, drawing on theirs. Weigh "
    "them critically: some may be wrong, incomplete or off the point. Do not repeat them one by one and do not mention "
    "them; answer the request itself, correctly and completely.\n\nTheir answers:\n\n{answers}"
)


@strategy(
    paper="2406.04692",
    exempt={
        "identical_candidates_are_the_first": "the aggregator answers",
        "order_of_members_is_free": "the aggregator, which is one of the members here, answers",
    },
)
class MixtureOfAgents:
    """Let models propose answers in `layers`, each seeing the last layer's; an aggregator makes one answer of the last.

    `instruction` is what proposers of later layers and the aggregator are given, {answers} in it (default: our own). A
    greedy request is sampled at `temperature` by the proposers (0: stays greedy), which lets one model stand several
    times. A proposer that fails is skipped; where none answers a layer, the last layer's answers stand, and if the
    aggregator fails, the first of them is the answer. `details` has `answered_by` and the last layer's `proposals`.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        aggregator: LanguageModel,
        *,
        layers: Annotated[int, Range(1, 10)] = 2,
        temperature: Annotated[float, Range(0, 100)] = 0.0,
        instruction: str | None = None,
    ) -> None:
        self.models, _ = checked_members(models)
        self.aggregator, self.layers, self.temperature = aggregator, layers, temperature
        self.instruction = instruction
        self.wording = checked_template(AGGREGATE if instruction is None else instruction, "instruction", "answers")
        *self.labels, self.last_label = distinct([*(m.name for m in self.models), aggregator.name])
        self.name = f"mixture_of_agents({', '.join(m.name for m in self.models)}; {aggregator.name})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (*self.models, self.aggregator)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        ledgers = [Ledger() for _ in prompts]
        said: list[dict[str, Completion]] = [{} for _ in prompts]
        for layer in range(self.layers):
            said = self._layer(prompts, sampling, layer, said, ledgers)
        answered = [i for i, row in enumerate(said) if row]
        job = (self.aggregator, [self._prompted(prompts[i], said[i]) for i in answered], sampling.of_rows(answered))
        final = dict(zip(answered, ask_side_by_side([job])[0], strict=True))
        found = []
        for i, (ledger, row) in enumerate(zip(ledgers, said, strict=True)):
            answer = ledger.enter(self.last_label, self.aggregator, final[i]) if i in final else None
            by = next(iter(row), "") if answer is None else self.last_label
            details = {"answered_by": by, "proposals": {label: c.text for label, c in row.items()}}
            found.append(ledger.completion(self, answer or row.get(by), **details))
        return found

    def _layer(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        layer: int,
        before: Sequence[dict[str, Completion]],
        ledgers: Sequence[Ledger],
    ) -> list[dict[str, Completion]]:
        """What each proposer answers, by prompt and label; the answers before where none does."""
        asked = [self._prompted(p, row) if row else p for p, row in zip(prompts, before, strict=True)]
        jobs = [(m, asked, self._warm(prompts, sampling, layer, k)) for k, m in enumerate(self.models)]
        said: list[dict[str, Completion]] = [{} for _ in prompts]
        for label, model, outcomes in zip(self.labels, self.models, ask_side_by_side(jobs), strict=True):
            for i, one in enumerate(outcomes):
                answer = ledgers[i].enter(label, model, one)
                if answer is not None:
                    said[i][label] = answer
        return [row or old for row, old in zip(said, before, strict=True)]

    def _prompted(self, prompt: Prompt, said: dict[str, Completion]) -> Prompt:
        return with_answers(prompt, self.wording, [c.text for c in said.values()])

    def _warm(self, prompts: Sequence[Prompt], sampling: Sampling, layer: int, number: int) -> Sampling:
        """A proposer's own seeds: a model that stands twice must not say the same."""
        step = STEP * (layer * len(self.models) + number)
        seeds = tuple(seed + step for seed in row_seeds(prompts, sampling))
        return replace(sampling, seeds=seeds, temperature=sampling.temperature or self.temperature)
