"""An evaluation in parts: examples in a row that anybody may measure, and what they come to together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from consort.core.types import Usage
from consort.evaluate.measure import Measured, complete, measured_batch, require
from consort.evaluate.result import Result
from consort.evaluate.run import Asked, result_of, vocabulary_of
from consort.models.cost import sizes as sizes_of


@dataclass(frozen=True, slots=True)
class Part:
    """What a model of this `name`, `vocabulary` and `sizes` did with some examples in `seconds`; without answers."""

    name: str
    vocabulary: str | None
    sizes: Mapping[str, float]
    seconds: float
    measured: Measured
    notes: tuple[str, ...] = ()
    """Warnings that nobody has seen yet, where it was measured by a worker."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = self.measured
        return {
            "name": self.name,
            "vocabulary": self.vocabulary,
            "sizes": dict(self.sizes),
            "seconds": self.seconds,
            "rows": found.rows,
            "usage": asdict(found.usage),
            "cost": {name: asdict(usage) for name, usage in found.cost.items()},
            "ended": dict(found.ended),
            "truncated": found.truncated,
            "unknown": found.unknown,
            "left_out": found.left_out,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Part:
        """The part that `to_json` wrote. Raises KeyError, TypeError, ValueError for anything else."""
        measured = Measured(
            rows=[tuple(row) for row in value["rows"]],
            usage=Usage(**value["usage"]),
            cost={name: Usage(**usage) for name, usage in value["cost"].items()},
            ended=Counter(value["ended"]),
            truncated=int(value["truncated"]),
            unknown=int(value["unknown"]),
            left_out=int(value["left_out"]),
        )
        sizes = {name: float(size) for name, size in value["sizes"].items()}
        return cls(str(value["name"]), value["vocabulary"], sizes, float(value["seconds"]), measured)


def spans(count: int, batch: int) -> list[tuple[int, int]]:
    """Where the parts of `count` examples begin and end: those that `evaluate` gives to a model together."""
    return [(start, min(start + batch, count)) for start in range(0, count, batch)]


def measured_part(model: Any, asked: Asked, start: int, stop: int) -> Part:
    """What `model` does with some of the examples. Raises as `evaluate`."""
    begun = perf_counter()
    require(model, asked.metric, asked.examples)
    with asked.placed():
        found = measured_batch(model, asked.examples[start:stop], asked.metric, asked.task.options)
    found.answers, found.details = [], []
    return Part(model.name, vocabulary_of(model), sizes_of(model), perf_counter() - begun, found)


def joined(parts: Sequence[Part], asked: Asked) -> Result:
    """The result of all parts, in order; its `seconds` are theirs together, whoever worked side by side."""
    found = Measured()
    for part in parts:
        found.add(part.measured)
    return result_of(
        complete(found, parts[0].name),
        asked,
        name=parts[0].name,
        vocabulary=parts[0].vocabulary,
        sizes=parts[0].sizes,
        seconds=sum(part.seconds for part in parts),
    )
