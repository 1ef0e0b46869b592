"""Laws that every strategy over finished answers keeps; for authors of plug-ins as for consort's own tests.

A law is a function of what builds a strategy (from its models, or from a threshold) that raises AssertionError where it
is broken. The models are fakes that record what they were asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from consort.core.errors import EnvironmentFailure
from consort.core.types import Completion, Prompt, Sampling, Usage, add_cost
from consort.ensemble.answers.ranking import Compare, bubble_winner, full_ranking, logit_matrix

Build = Callable[[Sequence[Any]], Any]
"""Makes a strategy of given models, in order."""
BuildAt = Callable[[float, Sequence[Any]], Any]
"""Makes a cascade of given models with a given threshold."""
PROMPTS = ("one", "two words", "three short words")


class Said:
    """A model that always says the same, and records what it was asked and what that cost."""

    def __init__(self, name: str, text: str, *, logprob: float | None = -0.5) -> None:
        self.name, self.text, self.logprob = name, text, logprob
        self.spent = Usage()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        found = []
        for prompt in prompts:
            asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
            words = self.text.split()
            usage = Usage(len(asked.split()), len(words), 1)
            self.spent += usage
            tokens = tuple(range(len(words)))
            found.append(Completion(self.text, tokens, self.logprob, usage=usage, cost={self.name: usage}))
        return found


class Down:
    """A model that never answers in time."""

    def __init__(self, name: str = "down") -> None:
        self.name = name

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        raise EnvironmentFailure("does not answer in time", field=self.name)


def costs_add_up(build: Build, texts: Sequence[str] = ("4", "5", "4")) -> None:
    """The cost of the answers is what the inner models were asked for, no more and no less."""
    models = [Said(f"m{i}", text) for i, text in enumerate(texts)]
    answers = build(models).generate(PROMPTS)
    total = add_cost(*(answer.cost for answer in answers))
    for model in models:
        reported, spent = total.get(model.name, Usage()), model.spent
        counted = (reported.prompt_tokens, reported.completion_tokens, reported.calls)
        assert counted == (spent.prompt_tokens, spent.completion_tokens, spent.calls), f"{model.name}: {reported}"


def identical_candidates_are_the_first(build: Build) -> None:
    """Where all say the same, the first model's answer is returned."""
    models = [Said(f"m{i}", "the same 7") for i in range(3)]
    for answer in build(models).generate(PROMPTS):
        assert answer.text == "the same 7"
        assert answer.details.get("answered_by", "m0") == "m0", f"answered by {answer.details['answered_by']}"


def order_of_members_is_free(build: Build, texts: Sequence[str] = ("9", "4", "4")) -> None:
    """Members may stand in any order where nothing is tied: the answer is the same."""
    models = [Said(f"m{i}", text) for i, text in enumerate(texts)]
    orders = ([0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0])
    found = {build([models[i] for i in order]).generate(PROMPTS)[0].text for order in orders}
    assert len(found) == 1, f"the order of members decides: {sorted(found)}"


def what_cannot_be_read_never_wins(build: Build, unreadable: str = "no idea", readable: str = "it is 7") -> None:
    """One answer that can be read beats any number that cannot (the strategy reads numbers)."""
    models = [Said("m0", unreadable), Said("m1", unreadable), Said("m2", readable)]
    assert build(models).generate(PROMPTS)[0].text == readable


def a_failed_member_is_named(build: Build) -> None:
    """A member that fails is passed over and named; where all fail, the error is the first one's."""
    models = [Said("m0", "7"), Down(), Said("m2", "7")]
    for answer in build(models).generate(PROMPTS):
        assert answer.text == "7"
        assert answer.details["failed"] == {"down": "does not answer in time"}
        assert "down" in answer.details["asked"]
    try:
        build([Down("a"), Down("b"), Down("c")]).generate(PROMPTS[:1])
    except EnvironmentFailure as failure:
        assert failure.field == "a"
    else:
        raise AssertionError("no model answers and nothing is raised")


def thresholds_at_both_ends(build: BuildAt, low: float, high: float) -> None:
    """At threshold `low` the last model is never asked, at `high` it answers every prompt; in between it may."""
    for threshold, wanted in ((low, 0), (high, len(PROMPTS))):
        cheap, last = Said("cheap", "Correct 4", logprob=-3.0), Said("last", "5")
        answers = build(threshold, [cheap, last]).generate(PROMPTS)
        assert last.spent.calls == wanted, f"threshold {threshold}: the last model was asked {last.spent.calls} times"
        assert all(answer.text == (last if wanted else cheap).text for answer in answers)


def comparisons_are_antisymmetric(compare: Compare, count: int) -> None:
    """compare(a, b) = -compare(b, a); the ranking is of all; the bubble's winner is the full one's if transitive."""
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    there = np.array(compare(pairs))
    back = np.array(compare([(j, i) for i, j in pairs]))
    assert np.abs(there + back).max(initial=0.0) < 1e-4, "comparisons depend on the order of the two"
    order = full_ranking(count, compare)
    assert sorted(order) == list(range(count))
    wins = logit_matrix(count, compare) > 0
    if all(wins[a, b] for k, a in enumerate(order) for b in order[k + 1 :]):
        assert bubble_winner(count, compare) == order[0]


def plan_round_trip(strategy: Any) -> None:
    """The plan of a strategy builds a strategy of the same plan."""
    from consort.plan.build import build
    from consort.plan.expression import parse
    from consort.plan.objects import to_plan

    plan = to_plan(strategy)
    assert to_plan(build(parse(plan))) == plan
