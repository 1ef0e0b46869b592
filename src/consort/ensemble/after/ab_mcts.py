"""Answers searched as a tree by several models: new ones, or better ones of good ones, as rewards say (2503.04412).

Adaptive branching: whether to answer anew or to improve on an answer, on which, and by which model is drawn from what
is known of the rewards so far (`ensemble/answers/tree_search.py`). With `depth` 1 and one model it is best of n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.samples import STEP, checked_template, filled, last_words, rephrased, row_seeds
from consort.ensemble.answers.tree_search import Tree
from consort.ensemble.calls import Ledger, ask, checked_members
from consort.models.base import LanguageModel
from consort.models.judges.protocol import Judge, spent


@strategy(
    paper="2503.04412",
    example={"calls": 4},
    exempt={"copies_are_the_model": "answers are sampled, greedy requests too"},
)
class AbMcts:
    """Ask models `calls` times for new or improved answers to a prompt, and return the one of the largest reward.

    `reward`: a judge of prompt and answer. Every model answers once at first. `refine` is what an improvement is asked
    for with, {prompt} and {answer} in it; `depth`: of improvements of improvements, 1 for none. `posterior` of rewards:
    `gaussian`, or `beta` for rewards in [0, 1]; `prior_mean` as in `Tree`. `bandit` over models: `thompson` or `ucb`.
    A greedy request is sampled at `temperature`. `details` has `answered_by`, `rewards`, and `tree`, the number of the
    answer that each one improves on (0: none). Raises BadParameter for fewer calls than models.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        reward: Judge,
        calls: Annotated[int, Range(1, 100000)] = 16,
        depth: Annotated[int, Range(1, 1000000)] = 1000000,
        posterior: Literal["gaussian", "beta"] = "gaussian",
        prior_mean: float | None = None,
        bandit: Literal["thompson", "ucb"] = "thompson",
        refine: str = "{prompt}\n\nAn earlier answer:\n{answer}\n\nGive a better answer.",
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.reward, self.calls, self.depth, self.posterior = reward, calls, depth, posterior
        self.prior_mean, self.bandit, self.temperature = prior_mean, bandit, temperature
        self.refine = checked_template(refine, "refine", "prompt", "answer")
        if calls < len(self.models):
            hint = "at least one for each model"
            raise BadParameter(
                f"{counted(calls, 'call')} for {counted(len(self.models), 'model')}", field="calls", hint=hint
            )
        self.name = f"ab_mcts({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[object]:
        """The models that it asks."""
        return (*self.models, self.reward)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        self.reward.open()
        rows = [
            _Row(prompt, seed, self.tree(seed))
            for prompt, seed in zip(prompts, row_seeds(prompts, sampling), strict=True)
        ]
        for _ in range(self.calls):
            self._round(rows, sampling)
        return [row.completion(self) for row in rows]

    def tree(self, seed: int = 0) -> Tree:
        """A new search of these settings: `ask`, `tell`, and a state that can be saved and gone on from."""
        return Tree(len(self.models), seed, self.posterior, self.bandit, self.prior_mean, depth=self.depth)

    def _round(self, rows: Sequence[_Row], sampling: Sampling) -> None:
        """One call for each prompt, all that go to one model together."""
        usable = [(row, row.usable(len(self.models))) for row in rows]
        wanted = [(row, *row.tree.ask(models)) for row, models in usable if models]
        for m, model in enumerate(self.models):
            mine = [(row, node) for row, node, action in wanted if action == m]
            asked = [self._prompt(row, node) for row, node in mine]
            outcomes = ask(model, asked, self._warm([row for row, _ in mine], m, sampling))
            for (row, node), outcome in zip(mine, outcomes, strict=True):
                row.times[m] = row.times.get(m, 0) + 1
                answer = row.ledger.enter(self.labels[m], model, outcome)
                if answer is None:
                    row.failed.add(m)
                else:
                    row.add(answer, node, m, self.reward)

    def _warm(self, rows: Sequence[_Row], model: int, sampling: Sampling) -> Sampling:
        """Sample k of a model is that of seed + k steps, as in best of n; a single call stays as it was asked for."""
        if self.calls == 1:
            return replace(sampling, seeds=tuple(row.seed for row in rows)) if sampling.seeds else sampling
        seeds = tuple(row.seed + STEP * row.times.get(model, 0) for row in rows)
        return replace(sampling, seeds=seeds, temperature=sampling.temperature or self.temperature)

    def _prompt(self, row: _Row, node: int) -> Prompt:
        if not node:
            return row.prompt
        text = filled(self.refine, prompt=last_words(row.prompt), answer=row.answers[node - 1].text)
        return rephrased(row.prompt, text)


@dataclass(slots=True)
class _Row:
    """The search for one prompt."""

    prompt: Prompt
    seed: int
    tree: Tree
    ledger: Ledger = field(default_factory=Ledger)
    answers: list[Completion] = field(default_factory=list)
    """Of nodes 1, 2, …"""
    times: dict[int, int] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    known: dict[str, float] = field(default_factory=dict)

    def usable(self, models: int) -> list[int]:
        """Models that have not failed."""
        return [m for m in range(models) if m not in self.failed]

    def add(self, answer: Completion, node: int, model: int, judge: Any) -> None:
        """An answer and its reward; equal answers are judged once."""
        if answer.text not in self.known:
            [self.known[answer.text]], usage = judge.rewards(self.prompt, [answer.text])
            self.ledger.costs.append((judge, spent(judge, usage)))
        self.answers.append(answer)
        self.tree.tell(node, model, self.known[answer.text])

    def completion(self, owner: AbMcts) -> Completion:
        """The best answer. Raises the first model's error where there is none."""
        nodes, best = self.tree.nodes[1:], self.tree.best
        taken = self.answers[best - 1] if best else None
        label = owner.labels[self.tree.nodes[best].action] if best else ""
        rewards, parents = [node.reward for node in nodes], [node.parent for node in nodes]
        return self.ledger.completion(owner, taken, answered_by=label, rewards=rewards, tree=parents)
