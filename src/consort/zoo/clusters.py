"""Clusters of mergeable models from their similarities: by leaders, or by connected components (2410.05357, 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from consort.core.counted import counted
from consort.core.errors import BadParameter

Table = Sequence[Sequence[float | None]]
THRESHOLD = 0.95


@dataclass(frozen=True, slots=True)
class Cluster:
    """Positions of models that belong together, in order of joining; `representative` has the best score."""

    members: tuple[int, ...]
    representative: int

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        return {"members": [names[i] for i in self.members], "representative": names[self.representative]}


def cluster(
    table: Table,
    *,
    names: Sequence[str],
    scores: Sequence[float] | None = None,
    threshold: float = THRESHOLD,
    method: Literal["leader", "components"] = "leader",
) -> list[Cluster]:
    """Clusters of the models of a similarity table.

    Models are taken by score (best first), then name; without `scores` by name alone. So the result does not depend
    on the order of the table. Raises BadParameter.
    """
    if method not in METHODS:
        raise BadParameter(f"{method!r} is no way to cluster", field="method", hint=" or ".join(METHODS))
    if not -1 <= threshold <= 1:
        hint = "a cosine in [-1, 1]; the paper takes 0.95"
        raise BadParameter(f"{threshold} is outside [-1, 1]", field="threshold", hint=hint)
    if scores is not None and len(scores) != len(names):
        message = f"{counted(len(scores), 'score')} for {counted(len(names), 'model')}"
        raise BadParameter(message, field="scores", hint="give one for each model")
    worth = [0.0] * len(names) if scores is None else list(scores)
    order = sorted(range(len(names)), key=lambda i: (-worth[i], names[i], i))
    found = METHODS[method](table, order, threshold)
    return [Cluster(tuple(group), min(group, key=order.index)) for group in found]


def leader(table: Table, order: Sequence[int], threshold: float = THRESHOLD) -> list[list[int]]:
    """A model joins the first cluster whose first member is more similar than `threshold`, else opens one."""
    groups: list[list[int]] = []
    for model in order:
        home = next((group for group in groups if _near(table, group[0], model, threshold)), None)
        if home is None:
            groups.append([model])
        else:
            home.append(model)
    return groups


def components(table: Table, order: Sequence[int], threshold: float = THRESHOLD) -> list[list[int]]:
    """Models joined by a chain of pairs more similar than `threshold`."""
    groups: list[list[int]] = []
    for model in order:
        near = [group for group in groups if any(_near(table, other, model, threshold) for other in group)]
        joined = [member for group in near for member in group] + [model]
        place = groups.index(near[0]) if near else len(groups)
        groups = [group for group in groups if group not in near]
        groups.insert(place, joined)
    return [sorted(group, key=order.index) for group in groups]


METHODS: dict[str, Callable[[Table, Sequence[int], float], list[list[int]]]] = {
    "leader": leader,
    "components": components,
}


def _near(table: Table, a: int, b: int, threshold: float) -> bool:
    value = table[a][b]
    return value is not None and value > threshold
