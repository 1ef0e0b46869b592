"""Laws that every strategy over finished answers keeps; for authors of plug-ins as for consort's own tests.

`check(NAME)` runs every law over a registered strategy. A law is a function of what builds a strategy (from its models,
or from a threshold) that raises AssertionError where it is broken. The models are fakes that record what they were
asked. What a strategy needs is said by its decorator: `example`, `exempt`, and `ends`, the parameter that decides
whether the last model is asked, with the values at which it never and always is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from consort.core.errors import EnvironmentFailure
from consort.core.types import Completion, Prompt, Sampling, Usage, add_cost
from consort.ensemble.after import after
from consort.ensemble.answers.ranking import Compare, bubble_winner, full_ranking, logit_matrix
from consort.testing.built import built, run
from consort.testing.law import Law, applies, named

KINDS = ("answer",)
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
        """A completion for each prompt, in order."""
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
        """A completion for each prompt, in order."""
        raise EnvironmentFailure("does not answer in time", field=self.name)


def costs_add_up(build: Build, texts: Sequence[str] = ("4", "5", "4")) -> None:
    """The cost of the answers is what the inner models were asked for, no more and no less."""
    models = [Said(f"m{i}", text) for i, text in enumerate(texts)]
    answers = build(models).generate(PROMPTS)
    total = add_cost(*(answer.cost for answer in answers))
    for model in models:  # a judge is a model of its own, and not among these
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


def _params(name: str) -> dict[str, Any]:
    return {p.name: p for p in after.entry(name).params}


def takes_a_list(name: str) -> bool:
    """Whether a registered strategy is of any number of models."""
    return any(p.type == "model" and p.many for p in _params(name).values())


def build_of(name: str, **more: Any) -> Build:
    """What makes the registered strategy `name`, with its example; answers are read as numbers."""
    given = {p.name: "numeric" for p in _params(name).values() if p.type == "reading"}
    return lambda models: built(after, name, models, given={**given, **more})


def _of_lists(law: Callable[[Build], None]) -> Law:
    @wraps(law)
    def of(name: str) -> None:
        applies(takes_a_list(name), "it is of models in different roles")
        law(build_of(name))

    return of


def _is_judged(name: str) -> bool:
    return any(p.type in ("judge", "checkpoint") and p.required for p in _params(name).values())


@named("order_of_members_is_free")
def order_is_free(name: str) -> None:
    """`order_of_members_is_free`; where a judge decides, the longest answer is the best."""
    applies(takes_a_list(name), "it is of models in different roles")
    order_of_members_is_free(build_of(name), ("999", "4", "4") if _is_judged(name) else ("9", "4", "4"))


@named("what_cannot_be_read_never_wins")
def readable_answers_win(name: str) -> None:
    """`what_cannot_be_read_never_wins`, for strategies of many models that read answers."""
    reads = any(p.type == "reading" for p in _params(name).values())
    applies(takes_a_list(name) and reads, "it does not read the answers of a list of models")
    what_cannot_be_read_never_wins(build_of(name))


@named("thresholds_at_both_ends")
def ends_of_the_threshold(name: str) -> None:
    """`thresholds_at_both_ends`, for strategies whose decorator says what they are."""
    applies("ends" in after.entry(name).options, "its decorator names no `ends` of a threshold")
    parameter, low, high = after.entry(name).options["ends"]
    thresholds_at_both_ends(lambda value, models: build_of(name, **{parameter: value})(models), low, high)


def plan_round_trip(name: str) -> None:
    """The plan of a strategy over models of the lab, numbers inside their ranges, builds the same plan again."""
    from consort import lab
    from consort.models import load_model
    from consort.models.judges.reward_model import RewardModel
    from consort.plan.build import build
    from consort.plan.expression import parse
    from consort.plan.objects import to_plan
    from consort.weights import open_checkpoint

    models = [load_model(lab.path(one), name=f"lab:{one}") for one in ("mirror", "order")]
    reward = open_checkpoint(lab.path("reward"))
    params = _params(name).values()
    given: dict[str, Any] = {p.name: reward for p in params if p.type == "checkpoint" and p.required}
    given |= {p.name: RewardModel(reward) for p in params if p.type == "judge"}
    given |= {p.name: p.range.low + 0.25 * min(1.0, p.range.high - p.range.low) for p in params
              if p.type == "float" and p.range and not p.many and not p.per_model}  # fmt: skip
    plan = to_plan(built(after, name, models, fit=False, **given))
    assert to_plan(build(parse(plan))) == plan


LAWS: tuple[Law, ...] = (
    _of_lists(costs_add_up),
    _of_lists(identical_candidates_are_the_first),
    order_is_free,
    readable_answers_win,
    _of_lists(a_failed_member_is_named),
    ends_of_the_threshold,
    plan_round_trip,
)
"""Laws of a registered strategy over finished answers, by its name; those of models stand beside (`model_laws`)."""


def check(name: str) -> list[str]:
    """Every law over the strategy called `name`; those that held. Raises AssertionError where one is broken."""
    return run(after, LAWS, name)
