"""Laws of judges: a finite number for each answer, a matter of the prompt and the answer alone."""

from __future__ import annotations

from functools import cache
from math import isfinite
from typing import Any

from consort.core.types import Usage
from consort.models.judges import judges
from consort.testing.law import Law
from consort.testing.planned import planned

KINDS = ("judge",)
PROMPT = "mirror a b c ="
ANSWERS = ("c b a", "a b c", "", "nothing of the kind")


@cache
def judge_of(name: str) -> Any:
    """The judge, as a plan makes it, opened."""
    made = planned(judges, name)
    made.open()
    return made


def rewards_are_finite_numbers(name: str) -> None:
    """A number for each answer, and what judging them took; of no answers nothing."""
    rewards, usage = judge_of(name).rewards(PROMPT, ANSWERS)
    assert len(rewards) == len(ANSWERS) and all(map(isfinite, rewards)), f"{rewards}"
    assert isinstance(usage, Usage), f"{usage}"
    assert list(judge_of(name).rewards(PROMPT, [])[0]) == []


def rewards_are_those_of_answers_alone(name: str) -> None:
    """Alone or beside others, in any order, an answer is worth the same."""
    together, _ = judge_of(name).rewards(PROMPT, ANSWERS)
    backward, _ = judge_of(name).rewards(PROMPT, ANSWERS[::-1])
    alone = [judge_of(name).rewards(PROMPT, [answer])[0][0] for answer in ANSWERS]
    assert list(together) == list(backward)[::-1] == alone, f"{together}, {backward}, {alone}"


def has_a_name(name: str) -> None:
    """By which it stands in a strategy's cost."""
    assert judge_of(name).name


LAWS: tuple[Law, ...] = (rewards_are_finite_numbers, rewards_are_those_of_answers_alone, has_a_name)
