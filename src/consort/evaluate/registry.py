"""What a metric is: a pure function from what a model gave for one example to numbers that can be summed.

    @metric(needs=("target",), unit=True)
    def contains(answer: str, example: Example, *, last_words: Annotated[int, Range(0, 1000000)] = 0) -> float: ...

One file is one metric: its keyword-only arguments are its options in a task file, its decorator says what it asks of
the model and of every row, so that no table elsewhere knows it. By what it `asks`, it is called with
    generate   (answer: str, example)                             the text of the answer
    completion (completion: Completion, example)                  the answer with what is told beside it
    score      (log_likelihoods: Sequence[float], example)        nats, one for each choice
    logprobs   (logprobs: sequence of float, n_bytes: float)      nats of each token, and the bytes they cover
and returns a score, or a row of statistics whose sums `aggregate` turns into the score of any set of examples, so one
bootstrap serves means and corpus measures alike. Larger is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from consort.core.errors import BadData
from consort.core.guard import users_code
from consort.core.params import bind, name_of
from consort.core.visible import visible
from consort.data.registry import FUNCTION, METRICS, declared, rule_of, signature_of, users_function

if TYPE_CHECKING:
    import numpy as np

Asks = Literal["generate", "completion", "score", "logprobs"]
Aggregate = Callable[["np.ndarray"], "np.ndarray"]
UNIT = (0.0, 1.0)


def ratio(sums: np.ndarray) -> np.ndarray:
    """First sum over second: a mean when rows are (score, 1), a rate per token when they are (total, tokens, …).

    NaN of rows of nothing, (0, 0): what is not known.
    """
    import numpy as np

    with np.errstate(invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with its options.

    `needs` are the columns of every row; `span` is the range of scores where one is known, (0, 1) of a `unit` metric;
    `numbers` is the length of a row of statistics.
    """

    name: str
    asks: Asks
    row: Callable[..., Any]
    aggregate: Aggregate = ratio
    needs: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    numbers: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_mean(self) -> bool:
        """Whether the score of many examples is the mean of their own."""
        return self.aggregate is ratio and self.numbers == 2

    @property
    def unit(self) -> bool:
        """Whether the score of one example lies in [0, 1], and of many is the mean."""
        return self.span == UNIT and self.is_mean

    @property
    def is_ours(self) -> bool:
        """Whether it comes with consort; others are run as the user's code."""
        return str(getattr(self.row, "__module__", "")).startswith("consort.")

    def __call__(self, **options: Any) -> Metric:
        """The same with these options, checked. Raises BadParameter."""
        return self.with_options(options)

    def with_options(self, options: Mapping[str, Any]) -> Metric:
        """The same with these options, checked. Raises BadParameter."""
        return replace(self, options=bind(f"the metric {self.name}", signature_of(self.row), options))

    def statistics(self, given: Any, beside: Any) -> tuple[float, ...]:
        """The row of one example as floats; a plain score s becomes (s, 1).

        Raises BadData that names metric and line for whatever a metric from elsewhere raises, and for an answer that is
        not `numbers` finite numbers, or outside `span`.
        """
        if self.is_ours:
            return _floats(self.row(given, beside, **self.options))
        where = f"metric {self.name}" + (f", line {beside.line}" if hasattr(beside, "line") else "")
        with users_code(where, "return a number"):
            made = self.row(given, beside, **self.options)
            row = _floats(made)
        if not all(map(math.isfinite, row)):
            raise BadData(f"returned {visible(repr(made))[:60]}", field=where, hint="return a finite number")
        if len(row) != self.numbers:
            raise BadData(f"returned {len(row)} numbers", field=where, hint=f"return {self.numbers} numbers")
        if self.span and self.is_mean and not self.span[0] <= row[0] <= self.span[1]:
            hint = f"it says that its scores are in [{self.span[0]:g}, {self.span[1]:g}]"
            raise BadData(f"returned {row[0]:g}", field=where, hint=hint)
        return row


def _floats(made: Any) -> tuple[float, ...]:
    return tuple(map(float, made)) if isinstance(made, tuple) else (float(made), 1.0)


def _metric(
    function: Callable[..., Any],
    *,
    needs: tuple[str, ...] = (),
    asks: Asks = "generate",
    aggregate: Aggregate = ratio,
    unit: bool = False,
    span: tuple[float, float] | None = None,
    numbers: int = 2,
    consent: str = "",
    default_for: str = "",
) -> Metric:
    """What `@metric(…)` makes of a function.

    `needs`: columns that every row must have; `asks`: what of the model; `unit`: scores in [0, 1], or `span` another
    range; `numbers`: how many a row of statistics has; `consent`: what the user must allow, in words; `default_for`:
    the column from which this metric follows where a task names none.
    """
    span = UNIT if unit else span
    return Metric(name_of(function.__name__), asks, function, aggregate, tuple(needs), span, numbers)


metric = METRICS.registrar(_metric)


def find_metric(name: str, options: Mapping[str, Any] | None = None) -> Metric:
    """A metric by name with its options, or the user's own `package.module:function`.

    Naming a function in a task file runs that function's module. Raises UnknownName, BadParameter.
    """
    found: Metric = _own(name) if FUNCTION.fullmatch(name) else METRICS.get(rule_of(name, allow_code=True).name)
    return found if options is None else found.with_options(options)


def _own(name: str) -> Metric:
    """A function of (answer, example), with what its decorator says of it, if it has one."""
    function = users_function(name)
    said = declared(function)
    if said:
        found: Metric = METRICS.get(name_of(function.__name__))
        return replace(found, name=name)
    return Metric(name, "generate", function)
