"""Options that answers name, effective reliability, and answers looked for in the last words."""

from __future__ import annotations

import pytest

from consort.core.errors import BadData
from consort.core.types import Completion, Example
from consort.data.task import Task
from consort.evaluate import evaluate
from consort.evaluate.metrics.abstain import abstain
from consort.evaluate.metrics.contains import contains
from consort.evaluate.metrics.multiple_choice import multiple_choice, option_of

COLOURS = ("red", "deep blue", "green")


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        (" B: deep blue", "B"),
        ("(C)", "C"),
        ("I think it is B.", "B"),
        ("C, or rather the one that is A.", "C"),
        ("the sky is Deep Blue there", "B"),
        ("who can tell?", "Z"),
        ("", "Z"),
        ("D", "Z"),
        ("Answer: B", "A"),
    ],
)
def test_the_option_that_an_answer_names(answer, option):
    assert option_of(answer, COLOURS) == option


def test_right_options_count_and_abstaining_is_no_fault():
    example = Example(prompt="p", choices=COLOURS, answer=1, line=3)
    assert [multiple_choice(a, example) for a in ("B", "C", "?")] == [1, 0, 0]
    assert [abstain(a, example) for a in ("B", "C", "?")] == [1, -1, 0]
    with pytest.raises(BadData, match="26 options"):
        multiple_choice("A", Example(prompt="p", choices=tuple(map(str, range(26))), answer=0))


def test_effective_reliability_is_right_less_wrong_of_all():
    class Model:
        name = "m"

        def generate(self, prompts, sampling=None):
            return [Completion(p) for p in prompts]

    examples = tuple(Example(prompt=p, choices=COLOURS, answer=0) for p in ("A", "A", "B", "?"))
    task = Task("t", "abstain", examples, examples)
    assert evaluate(Model(), task).score == (2 - 1) / 4


def test_only_the_last_words_are_looked_at():
    example = Example(prompt="p", target=("18",))
    assert contains("18 is wrong, so I say it is 9", example) == 1
    assert contains("18 is wrong, so I say it is 9", example, last_words=5) == 0
    assert contains("well: the answer is\n $18.", example, last_words=5) == 1
