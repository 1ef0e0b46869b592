"""What a metric is: a pure function from what a model gave for one example to numbers that can be summed.

By what it `needs` of the model, a metric is called with
    generate   (answer: str, example)                             the text of the answer
    completion (completion: Completion, example)                  the answer with what is told beside it
    score      (log_likelihoods: Sequence[float], example)        nats, one for each choice
    logprobs   (logprobs: sequence of float, n_bytes: float)      nats of each token, and the bytes they cover
and returns a score, or a row of statistics whose sums `aggregate` turns into the score of any set of examples, so one
bootstrap serves means and corpus measures alike. Larger is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from consort.core.errors import BadData, UnknownName
from consort.core.params import name_of, params_of
from consort.core.types import Example
from consort.data.task import Options, check_metric
from consort.evaluate.metrics import METRICS

Need = Literal["generate", "completion", "score", "logprobs"]
Aggregate = Callable[[np.ndarray], np.ndarray]


def ratio(sums: np.ndarray) -> np.ndarray:
    """First sum over second: a mean when rows are (score, 1), a rate per token when they are (total, tokens, …)."""
    return np.asarray(sums[..., 0] / sums[..., 1])


@dataclass(frozen=True, slots=True)
class Metric:
    """`row` is the metric's function; `options` names the task options that it takes as keywords."""

    name: str
    needs: Need
    row: Callable[..., Any]
    aggregate: Aggregate = ratio
    options: tuple[str, ...] = ()

    def statistics(self, given: Any, beside: Any, options: Options) -> tuple[float, ...]:
        """The row of one example as finite floats; a plain score s becomes (s, 1)."""
        row = self.row(given, beside, **{name: getattr(options, name) for name in self.options})
        return tuple(map(float, row)) if isinstance(row, tuple) else (float(row), 1.0)


def _metric(function: Callable[..., Any], *, needs: Need, aggregate: Aggregate = ratio, unit: bool = False) -> Metric:
    """`unit`: the score of one example lies in [0, 1], and of many is the mean; read where the metric is registered."""
    options = tuple(p.name for p in params_of(function))
    return Metric(name_of(function.__name__), needs, function, aggregate, options)


metric = METRICS.registrar(_metric)


def find_metric(name: str) -> Metric:
    """A metric by name, or the user's own `package.module:function`, called with (answer, example).

    Naming a function in a task file runs that function's module. Raises UnknownName.
    """
    check_metric(name)
    return _own(name) if ":" in name else METRICS.get(name)


def _own(name: str) -> Metric:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except ImportError as fault:
        raise UnknownName(str(fault), field=f"metric {name}", hint="install the module or set PYTHONPATH") from fault
    except AttributeError:
        raise UnknownName(
            f"{module} has no {attribute}", field=f"metric {name}", hint="name a function of it"
        ) from None
    if not callable(function):
        raise UnknownName("not a function", field=f"metric {name}", hint="a function of (answer, example)")

    def row(answer: str, example: Example) -> float:
        try:
            score = float(function(answer, example))
        except Exception as fault:
            what = f"raised {type(fault).__name__}: {fault}"
            raise BadData(what, field=f"metric {name}, line {example.line}", hint="return a number") from fault
        if not math.isfinite(score):
            raise BadData(
                f"returned {score}", field=f"metric {name}, line {example.line}", hint="return a finite number"
            )
        return score

    return Metric(name, "generate", row)
