"""Laws of metrics: what a metric says of answers is a number that can be summed, and right answers are worth more.

The rows that a metric is tried on are those of its decorator's `cases`; where it declares none, they follow from the
columns that it `needs` and from what it `asks` of a model.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np

from consort.core.types import Completion
from consort.data import load_task
from consort.data.registry import METRICS
from consort.data.rows import example_of
from consort.evaluate.registry import Metric
from consort.testing.law import Law, applies

KINDS = ("metric",)
COLUMNS: Mapping[str, Any] = {
    "prompt": "2 + 2 =",
    "target": "4",
    "choices": ["red", "blue", "green"],
    "answer": 1,
    "group": "sums",
}
RIGHT = {"generate": "4", "completion": {"text": "4"}, "score": [-3.0, -1.0, -2.0], "logprobs": [-0.1, -0.2]}
WRONG = {"generate": "none", "completion": {"text": "none"}, "score": [-1.0, -3.0, -2.0], "logprobs": [-3.0, -4.0]}
BYTES = 12.0
ODD = ("", " ", "\U0001f9ed", "a 1 b 2\n" * 50, "The answer is (C).")
"""Answers that a model may give to anything."""
ENOUGH = 1e-6


def metric_of(name: str) -> Metric:
    """The metric with the options of its decorator's `example`."""
    made: Metric = METRICS.get(name)
    return made.with_options(options_of(name)) if options_of(name) else made


def options_of(name: str) -> dict[str, Any]:
    """What it is tried with: its `example`, and a database of the numbers 1 to 3 where it has a `database`."""
    entry = METRICS.entry(name)
    needed = {"database": database()} if any(p.name == "database" for p in entry.params) else {}
    return {**needed, **entry.options.get("example", {})}


@cache
def database() -> str:
    """A file of SQLite with a table `numbers` of one column, x."""
    file = Path(mkdtemp(prefix="consort-law-")) / "numbers.sqlite"
    with closing(sqlite3.connect(file)) as made, made:
        made.execute("CREATE TABLE numbers (x INTEGER)")
        made.executemany("INSERT INTO numbers VALUES (?)", [(1,), (2,), (3,)])
    return str(file)


@dataclass(frozen=True, slots=True)
class Case:
    """A row of a task, what the metric is given beside an answer, and a right and a wrong answer."""

    row: Mapping[str, Any]
    beside: Any
    right: Any
    wrong: Any


def cases_of(name: str) -> list[Case]:
    """What a metric is tried on."""
    metric, declared = metric_of(name), METRICS.entry(name).options.get("cases", ({},))
    return [_case(metric, given) for given in declared]


def _case(metric: Metric, given: Mapping[str, Any]) -> Case:
    given = dict(given)
    right, wrong = given.pop("right", _usual(metric, RIGHT)), given.pop("wrong", _usual(metric, WRONG))
    subject = {} if {"text", "messages"} & {*metric.needs, *given} else {"prompt": COLUMNS["prompt"]}
    row = {**subject, **{column: COLUMNS.get(column, "some text") for column in metric.needs}, **given}
    example = example_of(row, "case", 1)
    return Case(row, BYTES if metric.asks == "logprobs" else example, _given(metric, right), _given(metric, wrong))


def _usual(metric: Metric, answers: Mapping[str, Any]) -> Any:
    if metric.asks == "generate" and "choices" in metric.needs:
        return "B" if answers is RIGHT else "A"
    return answers[metric.asks]


def _given(metric: Metric, value: Any) -> Any:
    if metric.asks == "completion":
        return Completion(**({"text": value} if isinstance(value, str) else dict(value)))
    return value


def _inputs(metric: Metric, case: Case) -> list[Any]:
    odd: Sequence[Any] = ODD if metric.asks == "generate" else ()
    return [case.right, case.wrong, *odd]


def rows_are_finite_numbers(name: str) -> None:
    """A row has as many numbers as the metric says, all finite, whatever the answer."""
    metric = metric_of(name)
    for case in cases_of(name):
        for given in _inputs(metric, case):
            row = metric.statistics(given, case.beside)
            assert len(row) == metric.numbers, f"{len(row)} numbers where it says {metric.numbers}"
            assert all(map(math.isfinite, row)), f"{row} of {given!r}"


def scores_are_in_their_span(name: str) -> None:
    """The score of one example lies in the range that the metric says."""
    metric = metric_of(name)
    applies(metric.span, "it says no range of scores")
    low, high = metric.span or (0.0, 0.0)
    for case in cases_of(name):
        for given in _inputs(metric, case):
            score = score_of(metric, [given], case.beside)
            assert low <= score <= high, f"{score} of {given!r} is outside [{low:g}, {high:g}]"


def rows_depend_on_nothing_else(name: str) -> None:
    """Asked again, and after other answers, it says the same."""
    metric = metric_of(name)
    for case in cases_of(name):
        given = _inputs(metric, case)
        first = [metric.statistics(one, case.beside) for one in given]
        again = [metric.statistics(one, case.beside) for one in reversed(given)]
        assert first == again[::-1], "the row of an answer depends on what was asked before"


def right_answers_are_worth_more(name: str) -> None:
    """Larger is better."""
    metric = metric_of(name)
    for case in cases_of(name):
        right, wrong = score_of(metric, [case.right], case.beside), score_of(metric, [case.wrong], case.beside)
        assert right > wrong, f"{case.right!r} scores {right}, {case.wrong!r} {wrong}"


def sums_make_the_score(name: str) -> None:
    """Of the same answer twice the score is that of once; of many sums at once, one by one (what a bootstrap does)."""
    metric = metric_of(name)
    for case in cases_of(name):
        once = score_of(metric, [case.right], case.beside)
        twice = score_of(metric, [case.right] * 2, case.beside)
        assert abs(once - twice) < ENOUGH, f"{once} of one answer, {twice} of the same answer twice"
        sums = np.array([metric.statistics(given, case.beside) for given in (case.right, case.wrong)])
        many = np.asarray(metric.aggregate(sums))
        assert many.shape == (2,), f"of two sums it makes an array of shape {many.shape}"
        one_by_one = [float(metric.aggregate(row)) for row in sums]
        assert np.allclose(many, one_by_one, atol=ENOUGH), f"{many} at once, {one_by_one} one by one"


def a_task_is_graded(name: str) -> None:
    """A task file that names the metric is read, and a model that is right scores more than one that is not."""
    from consort.evaluate import evaluate
    from consort.models.fake import FakeModel

    metric = metric_of(name)
    applies(metric.asks == "generate", f"it asks a model for {metric.asks}, not for answers alone")
    named = json.dumps({name: options_of(name)}) if options_of(name) else name
    with TemporaryDirectory() as folder:
        for case in cases_of(name):
            (Path(folder) / "rows.jsonl").write_text(json.dumps(dict(case.row)) + "\n", "utf-8")
            (Path(folder) / "task.yml").write_text(f"test: rows.jsonl\nmetric: {named}\nmax_tokens: 1000\n", "utf-8")
            task = load_task(folder, allow_code=True)
            right, wrong = (evaluate(FakeModel(_said(text)), task).score for text in (case.right, case.wrong))
            assert right > wrong, f"{case.right!r} scores {right} in a task, {case.wrong!r} {wrong}"


def _said(text: str) -> Callable[[str], str]:
    return lambda prompt: text


def score_of(metric: Metric, answers: Sequence[Any], beside: Any) -> float:
    """The score of answers to one example."""
    return float(metric.aggregate(np.array([metric.statistics(given, beside) for given in answers]).sum(0)))


LAWS: tuple[Law, ...] = (
    rows_are_finite_numbers,
    scores_are_in_their_span,
    rows_depend_on_nothing_else,
    right_answers_are_worth_more,
    sums_make_the_score,
    a_task_is_graded,
)
