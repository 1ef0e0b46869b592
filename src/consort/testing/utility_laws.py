"""Laws of utilities: what a search makes large is known example by example, and is a matter of these alone."""

from __future__ import annotations

import math
from typing import Any

from consort.core.errors import Unsupported
from consort.core.types import Example
from consort.data.settings import Options
from consort.data.task import Task
from consort.models.fake import FakeTokenModel
from consort.search.utilities import utilities
from consort.search.utilities.objective import Objective, bounds
from consort.testing.built import letters_model
from consort.testing.law import Law
from consort.testing.planned import planned

KINDS = ("utility",)
PROMPTS = ("abc", "b a c", "what is c", "one", "two words", "three short words")
SLACK = 1e-9


def task() -> Task:
    """Six prompts of two groups; the model under the law answers one of them as its target says."""
    said = [answer.text for answer in model().generate(PROMPTS)]
    examples = tuple(
        Example(prompt=prompt, target=(said[i] if i % 2 else "no such answer",), group="ab"[i // 3], line=i + 1)
        for i, prompt in enumerate(PROMPTS)
    )
    return Task("law", "exact_match", examples, examples, Options())


def model() -> FakeTokenModel:
    """Letters drawn from a fixed table."""
    made: FakeTokenModel = letters_model(0)
    return made


def objective_of(name: str, **given: Any) -> Objective:
    """The utility, as a plan makes it, on the task of the laws."""
    made: Objective = planned(utilities, name).on(task(), **given)
    return made


def every_example_has_a_row(name: str) -> None:
    """As many rows as examples, of finite numbers, and a score that is one too."""
    objective = objective_of(name)
    rows = objective.rows(model(), range(objective.size))
    assert objective.size == len(PROMPTS) == len(rows), (
        f"{objective.size} examples and {len(rows)} rows of {len(PROMPTS)}"
    )
    assert all(math.isfinite(number) for row in rows for number in row), f"{rows}"
    assert math.isfinite(objective.score(rows)), "the score is no finite number"


def rows_are_those_of_examples_alone(name: str) -> None:
    """In any order and any batch an example has the same row."""
    objective = objective_of(name)
    rows = objective.rows(model(), range(objective.size))
    order = [4, 0, 2]
    assert objective.rows(model(), order) == [rows[i] for i in order], "another order gives other rows"
    assert [objective.rows(model(), [i])[0] for i in order] == [rows[i] for i in order], "alone a row is another"


def a_limit_takes_the_first(name: str) -> None:
    """`limit` takes the first examples, and is part of the key."""
    whole, part = objective_of(name), objective_of(name, limit=3)
    assert part.rows(model(), range(part.size)) == whole.rows(model(), range(3))
    assert part.key != whole.key, "the key does not tell that there are fewer examples"
    assert objective_of(name).key == whole.key, "the same utility has another key the next time"


def scores_are_in_their_span(name: str) -> None:
    """Values of examples lie in the span; the bounds of a score close in on it as rows become known."""
    objective = objective_of(name)
    rows = objective.rows(model(), range(objective.size))
    score = objective.score(rows)
    if objective.span is not None:
        low, high = objective.span
        assert all(low <= row[0] / row[1] <= high for row in rows), f"{rows} leave [{low:g}, {high:g}]"
    for known in range(objective.size + 1):
        least, most = bounds(objective, dict(enumerate(rows[:known])))
        assert least - SLACK <= score <= most + SLACK, f"{known} rows say [{least}, {most}], the score is {score}"


def lacking_abilities_are_named(name: str) -> None:
    """A model that can do nothing is refused by `require`, before it is asked."""

    class Mute:
        name = "mute"

    try:
        objective_of(name).require(Mute())
    except Unsupported as refused:
        assert "mute" in str(refused), f"the refusal does not name the model: {refused}"
        return
    raise AssertionError("a model that can neither answer nor score is not refused")


LAWS: tuple[Law, ...] = (
    every_example_has_a_row,
    rows_are_those_of_examples_alone,
    a_limit_takes_the_first,
    scores_are_in_their_span,
    lacking_abilities_are_named,
)
