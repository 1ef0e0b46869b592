"""Utilities: the definitions of the paper, bounds, several tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter
from consort.core.types import Completion, Example, Usage
from consort.data.task import Task
from consort.evaluate import evaluate
from consort.search.utilities.answers import AnswerObjective
from consort.search.utilities.judge import Judge, rating
from consort.search.utilities.objective import bounds, harmonic
from consort.search.utilities.reward import Reward, length_score, preferred, reward_span, reward_value, scaled
from consort.search.utilities.task import task_objective


class Echo:
    """Answers with the prompt's last word."""

    name = "echo"

    def generate(self, prompts, sampling=None):
        return [Completion(p.split()[-1], usage=Usage(1, len(p))) for p in prompts]


def task(name="t", groups=("a", "b")) -> Task:
    lines = [
        Example(prompt=f"say {w}", target=(t,), group=g)
        for w, t, g in (("x", "x", groups[0]), ("y", "y", groups[0]), ("z", "z", groups[1]), ("u", "v", groups[1]))
    ]
    return Task(name, "exact_match", tuple(lines), tuple(lines))


def test_the_score_is_that_of_evaluate():
    utility = task_objective([task()])
    rows = utility.rows(Echo(), range(4))
    assert utility.score(rows) == evaluate(Echo(), task(), split="dev").score == 0.75


def test_examples_come_in_the_order_asked_for():
    assert [r[0] for r in task_objective([task()]).rows(Echo(), [3, 0, 3])] == [0, 1, 0]


def test_harmonic_means():
    assert harmonic([0.5, 0.25]) == pytest.approx(1 / 3)
    assert harmonic([0, 0]) == 0.01
    assert harmonic([0.5, 0]) == 0
    by_group = task_objective([task()], combine="harmonic")
    assert by_group.score(by_group.rows(Echo(), range(4))) == pytest.approx(2 / 3)
    two = task_objective([task(), task("u")], combine="harmonic")
    assert two.score(two.rows(Echo(), range(8))) == 0.75
    with pytest.raises(BadParameter, match="groups"):
        task_objective([task(groups=("", ""))], combine="harmonic")


@given(
    st.lists(st.booleans(), min_size=8, max_size=8), st.sets(st.integers(0, 7)), st.sampled_from(["mean", "harmonic"])
)
def test_bounds_hold_whatever_is_still_unknown(right, seen, combine):
    utility = task_objective([task(), task("u")], combine=combine)
    rows = [(float(r), 1.0) for r in right]
    low, high = bounds(utility, {i: rows[i] for i in seen})
    assert low <= utility.score(rows) <= high
    whole = bounds(utility, dict(enumerate(rows)))
    assert whole[0] <= utility.score(rows) <= whole[1]


def test_rewards_are_scaled_as_in_the_released_code():
    assert scaled(0) == pytest.approx(0.535357, abs=1e-6)
    assert (scaled(-9), scaled(9)) == (0, 1)
    assert length_score(105) == pytest.approx(0.497382, abs=1e-6)
    assert (length_score(3), length_score(400)) == (0, 1)
    assert preferred(0.5, 201, "verbose") == 0.75 and preferred(0.5, 201, "concise") == 0.25
    assert preferred(0.5, 9, "reverse") == -0.5


@pytest.mark.parametrize(("several", "expected"), [("mean", 0.5), ("min", 0.25), ("mean-std", 0.25)])
def test_several_reward_models(several, expected):
    examples = [Example(prompt="a b")]
    raw = [lambda pairs: [0.25 for _ in pairs], lambda pairs: [0.75 for _ in pairs]]
    value = reward_value(raw, low=0, high=1, several=several)
    utility = AnswerObjective("two", tuple(examples), value, reward_span(several, "plain"))
    assert utility.score(utility.rows(Echo(), [0])) == expected
    with pytest.raises(BadParameter):
        Reward([])


def test_a_judge_gives_a_number():
    class Says:
        name = "judge"

        def generate(self, prompts, sampling=None):
            return [Completion("Rating: 7/10" if "good" in p else "?") for p in prompts]

    examples = Task("t", "quality", (Example(prompt="is good"), Example(prompt="is bad")), ())
    utility = Judge(Says()).on(examples)
    assert utility.score(utility.rows(Echo(), [0, 1])) == 4
    assert (rating("Rating: 70/10"), rating("no")) == (10, 1)
