"""What an evaluation found, as a value that goes to JSON and back."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from consort.core.errors import BadData
from consort.core.types import Usage
from consort.evaluate.registry import Metric, find_metric

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One model on one split of a task. Larger scores are better.

    `statistics` has one row for each example (evaluate/registry.py); `interval` is the 95 % interval of `score`
    (evaluate/bootstrap.py). `groups` are the scores by group, empty without groups. `usage` counts the model's own
    answers, `cost` the work of every inner model, `seconds` the wall time of all examples. `figures` are what is
    reported beside the score (perplexity, bits_per_byte, truncated, unknown_tokens). `examples_key` says which
    examples, `vocabulary` which tokens. `details` has for every kept answer what the strategy told of it
    (`Completion.details` as plain JSON), or is empty where none told anything. `sizes` are the weights that work for a
    token, of each inner model that has weights here.
    """

    model: str
    task: str
    split: str
    metric: str
    score: float
    interval: tuple[float, float]
    statistics: tuple[Row, ...]
    examples_key: str
    groups: Mapping[str, float] = field(default_factory=dict)
    usage: Usage = Usage()
    cost: Mapping[str, Usage] = field(default_factory=dict)
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    vocabulary: str | None = None
    answers: tuple[str, ...] = ()
    details: tuple[Mapping[str, Any], ...] = ()
    sizes: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        score = f"{self.metric} {self.score:.4g} of {self.count}"
        return f"<consort result of {self.model} on {self.task} {self.split}: {score}>"

    @property
    def count(self) -> int:
        """How many examples were measured."""
        return len(self.statistics)

    @property
    def scores(self) -> tuple[float, ...]:
        """The score of every example by itself."""
        return tuple(float(s) for s in aggregate_of(self.metric).aggregate(np.array(self.statistics)))

    @property
    def tokens(self) -> int:
        """Tokens read and written by all inner models."""
        return sum(usage.total_tokens for usage in self.cost.values())

    @property
    def seconds_per_example(self) -> float:
        """Wall time of an example, in seconds."""
        return self.seconds / self.count

    @property
    def is_single(self) -> bool:
        """Whether at most one inner model did the work."""
        return len(self.cost) <= 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the fields in order."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Result:
        """The result that `to_json` wrote. Raises BadData naming the field that is missing or wrong."""
        if not isinstance(value, Mapping):
            raise BadData("a result is not a JSON object", hint="let consort write it")
        found = {}
        for f in fields(cls):
            if f.name in ("details", "sizes") and f.name not in value:
                continue  # results of before they were kept
            if f.name not in value:
                raise BadData("missing", field=f.name, hint="let consort write the result")
            try:
                found[f.name] = _READ[f.name](value[f.name])
            except (TypeError, ValueError, KeyError, AttributeError):
                raise BadData(
                    "not what a result has there", field=f.name, hint="let consort write the result"
                ) from None
        _check_rows(found)
        return cls(**found)


MAX_DETAIL = 20_000
"""Characters of JSON that one entry of an answer's details may take; what is longer is left out and named."""


def plain_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """What a strategy tells of an answer, as plain JSON; the names of what is too long are under "left_out"."""
    found = {str(name): plain(value) for name, value in details.items()}
    long = [name for name, value in found.items() if len(json.dumps(value, ensure_ascii=False)) > MAX_DETAIL]
    kept = {name: value for name, value in found.items() if name not in long}
    return {**kept, "left_out": long} if long else kept


def plain(value: Any) -> Any:
    """A value as JSON can say it: numbers that are not finite are None, what is no JSON is its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # arrays and tensors
        return plain(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    return str(value)


def aggregate_of(metric: str) -> Metric:
    """The metric for its `aggregate` and `span` only: a user's own function is a mean unless it has been imported."""
    if ":" in metric and metric.partition(":")[0] not in sys.modules:
        return Metric(metric, "generate", float)
    return find_metric(metric)


def _check_rows(found: Mapping[str, Any]) -> None:
    widths = {len(row) for row in found["statistics"]}
    wanted = aggregate_of(found["metric"]).numbers
    if widths != {wanted}:
        raise BadData(f"not rows of {wanted} numbers", field="statistics", hint="let consort write the result")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _row(value: Any) -> Row:
    if not isinstance(value, list | tuple):
        raise TypeError
    return tuple(_number(v) for v in value)


def _pair(value: Any) -> tuple[float, float]:
    low, high = _row(value)
    return low, high


def _numbers(value: Any) -> dict[str, float]:
    return {_text(name): _number(number) for name, number in value.items()}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return dict(value)


def _usage(value: Any) -> Usage:
    whole = {name: int(_number(value[name])) for name in ("prompt_tokens", "completion_tokens", "calls")}
    return Usage(**whole, seconds=_number(value["seconds"]))


_READ: dict[str, Any] = {
    "model": _text,
    "task": _text,
    "split": _text,
    "metric": _text,
    "score": _number,
    "interval": _pair,
    "statistics": lambda value: tuple(map(_row, value)),
    "examples_key": _text,
    "groups": _numbers,
    "usage": _usage,
    "cost": lambda value: {_text(name): _usage(usage) for name, usage in value.items()},
    "seconds": _number,
    "figures": _numbers,
    "vocabulary": lambda value: None if value is None else _text(value),
    "answers": lambda value: tuple(map(_text, value)),
    "details": lambda value: tuple(map(_object, value)),
    "sizes": _numbers,
}
