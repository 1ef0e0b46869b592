"""Frugal fusion of experts: ask one by one, as long as the next is worth its price (Fusing Models, ICLR 2024).

Subsets of experts form a lattice; an edge adds one, and its length is lambda times its cost less the loss it should
save, as the solved examples nearest to the prompt and the answers seen tell. The shortest path is found anew after each
answer. The paper's classifier on concatenated outputs is here a vote, weighted by how often each is right on examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated

import numpy as np

from consort.core.counted import counted
from consort.core.errors import BadData, BadParameter
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.data import load_task
from consort.ensemble.answers.voting import elected
from consort.ensemble.during import strategy
from consort.evaluate.measure import prompt_of
from consort.evaluate.metrics.exact_match import exact_match
from consort.models.base import LanguageModel
from consort.models.cached.model import text_of
from consort.models.cost import cost_of, distinct, joined

MOST = 10
"""Models at most: the lattice has two to their number of nodes."""
Words = frozenset[str]


@strategy(paper="ICLR 2024")
class FrugalFusion:
    """Ask experts one by one while the next is worth its price, then take the weighted vote of those asked.

    `examples`: a task with targets, on whose dev part all models are run once (not charged to answers). `cost`: price
    of a call of each model (default: 1). `lambda`: how much accuracy one unit of cost must buy. `neighbours`: how many
    examples, by words in common, an expectation is over. `details` has `asked` and `answered_by`. Raises BadParameter
    for more than 10 models or a wrong number of costs, BadData for examples without targets.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        examples: str,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000)] = 0.1,
        neighbours: Annotated[int, Range(1, 100000)] = 20,
    ) -> None:
        self.models, self.examples, self.cost = tuple(models), examples, cost
        self.lambda_, self.neighbours = lambda_, neighbours
        if not 1 <= len(self.models) <= MOST:
            raise BadParameter(f"{len(self.models)} models", field="models", hint=f"give 1 to {MOST}")
        self.prices = np.ones(len(self.models)) if cost is None else np.array(cost, dtype=float)
        if len(self.prices) != len(self.models) or not (self.prices >= 0).all():
            message = f"{self.prices.tolist()} are no costs of {counted(len(self.models), 'model')}"
            raise BadParameter(message, field="cost", hint="one number of at least 0 for each")
        self.labels = distinct([m.name for m in self.models])
        self.name = f"frugal_fusion({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    @cached_property
    def solved(self) -> Solved:
        task = load_task(self.examples)
        known = [example for example in task.dev if example.target]
        if not known:
            raise BadData("has no examples with a target", field=self.examples)
        prompts = [prompt_of(example) for example in known]
        sampling = Sampling(max_tokens=task.options.max_tokens, stop=tuple(task.options.stop))
        texts = [[answer.text for answer in model.generate(prompts, sampling)] for model in self.models]
        right = [[exact_match(text, example) for text, example in zip(row, known, strict=True)] for row in texts]
        return Solved(prompts, texts, np.array(right))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        seen: list[dict[int, Completion]] = [{} for _ in prompts]
        going = set(range(len(prompts)))
        while going:
            wanted: dict[int, list[int]] = {}
            for row in sorted(going):
                texts = {m: answer.text for m, answer in seen[row].items()}
                near = self.solved.nearest(prompts[row], texts, self.neighbours)
                following = next_expert(self.solved.losses[near].mean(0), set(texts), self.lambda_ * self.prices)
                going.discard(row) if following is None else wanted.setdefault(following, []).append(row)
            for model, rows in wanted.items():
                answers = self.models[model].generate([prompts[row] for row in rows], sampling.of_rows(rows))
                for row, answer in zip(rows, answers, strict=True):
                    seen[row][model] = answer
        return [self._fused(row) for row in seen]

    def _fused(self, seen: dict[int, Completion]) -> Completion:
        best = vote({m: answer.text for m, answer in seen.items()}, self.solved.right.mean(1))
        cost = joined(self, [(self.models[m], cost_of(self.models[m], answer)) for m, answer in seen.items()])
        asked = [self.labels[m] for m in seen]
        details = {**seen[best].details, "asked": asked, "answered_by": self.labels[best]}
        return replace(seen[best], cost=cost, details=details)


class Solved:
    """Examples with every model's answer: `right` is model by example, `losses` example by subset (a bit mask)."""

    def __init__(self, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]], right: np.ndarray) -> None:
        self.prompts = [words(prompt) for prompt in prompts]
        self.texts = [[words(text) for text in row] for row in texts]
        self.right = right
        self.losses = np.ones((len(prompts), 2 ** len(texts)))
        for subset in range(1, 2 ** len(texts)):
            own = [m for m in range(len(texts)) if subset >> m & 1]
            for i in range(len(prompts)):
                self.losses[i, subset] = 1 - right[vote({m: texts[m][i] for m in own}, right.mean(1)), i]

    def nearest(self, prompt: Prompt, answers: dict[int, str], most: int) -> np.ndarray:
        """The examples most alike in the words of prompt and of the answers seen; of equals the first."""
        own, given = words(prompt), {m: words(text) for m, text in answers.items()}
        alike = [
            jaccard(own, other) + sum(jaccard(text, self.texts[m][i]) for m, text in given.items())
            for i, other in enumerate(self.prompts)
        ]
        return np.argsort(-np.array(alike), kind="stable")[:most]


def words(prompt: Prompt) -> Words:
    """The words of a text or of a chat."""
    return frozenset(text_of(prompt).split())


def jaccard(a: Words, b: Words) -> float:
    """Words in common, as a share of all; two empty texts are alike."""
    return len(a & b) / len(a | b) if a | b else 1.0


def vote(texts: dict[int, str], accuracy: np.ndarray) -> int:
    """The first model of those whose common answer has the largest summed accuracy."""
    voters = sorted(texts)
    chosen = elected([texts[m].strip() for m in voters], [float(accuracy[m]) for m in voters])
    return voters[chosen or 0]


def next_expert(losses: np.ndarray, seen: set[int], prices: np.ndarray) -> int | None:
    """The first step of the shortest path from the experts seen, None to stop there; someone is always asked.

    `losses` are expected, by subset. Of equal paths the one that stops earlier, then the lower number.
    """
    models = len(prices)
    value, step = losses.astype(float).copy(), np.full(len(losses), -1)
    for subset in range(len(losses) - 1, -1, -1):
        for m in range(models):
            if not subset >> m & 1:
                through = prices[m] + value[subset | 1 << m]
                if through < value[subset] - 1e-12 or (subset == 0 and step[0] < 0):
                    value[subset], step[subset] = through, m
    first = int(step[sum(1 << m for m in seen)])
    return None if first < 0 else first
