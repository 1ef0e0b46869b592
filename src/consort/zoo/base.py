"""Which of several models the others were tuned from, where none of them says so: by their weights.

Fine-tunes of one base go their own ways: their differences from it are nearly orthogonal (2212.04089, fig. 5). So the
product of the differences of two models from a third is about the third's own squared distance from the base, whoever
the two are: its mean over all pairs is near 0 for the base, and far from it, with a gap, for every other model. Cosines
mislead in its place: the largest is that of two related jobs, and one model that went very far makes all of them small.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import ConsortError
from consort.weights.checkpoint import Checkpoint

READ = 1 << 22
"""Entries of each model that are looked at, over all its tensors."""
FEWEST = 3
"""Two models are as far from one another as the other from the one."""
NEAR = 0.17
"""The base's squared distance from itself, so measured, is at most this share of every other model's."""


def likely_base(models: Sequence[Checkpoint]) -> int | None:
    """The position of the model that the others, all of its shapes, were tuned from; None where that cannot be told."""
    if len(models) < FEWEST:
        return None
    (nearest, base), (second, _), *_ = sorted((d, i) for i, d in enumerate(squared_distances(models)))
    return base if second > 0 and nearest <= NEAR * second else None


def squared_distances(models: Sequence[Checkpoint]) -> list[float]:
    """Of three or more models how far each is, squared, from what the others have in common; noise may be negative."""
    products, found = _products(models), []
    for seen in range(len(models)):
        pairs = combinations([i for i in range(len(models)) if i != seen], 2)
        values = [_between(products, seen, i, j) for i, j in pairs]
        found.append(sum(values) / len(values))
    return found


def _between(products: Float[Tensor, "model model"], seen: int, i: int, j: int) -> float:
    """The product of the differences of models i and j from the model `seen`."""
    return float(products[i, j] - products[i, seen] - products[j, seen] + products[seen, seen])


def _products(models: Sequence[Checkpoint]) -> Float[Tensor, "model model"]:
    """Products of the models' differences from the first, over an even share of each tensor that all of them have."""
    first, total = models[0], torch.zeros(len(models), len(models), dtype=torch.float64)
    names = [n for n in first.keys() if first.spec(n).dtype.is_floating_point and _in_all(n, models)]
    share = max(64, READ // max(1, len(names)))
    for name in names:
        size = first.spec(name).numel
        start = max(0, (size - share) // 2)
        values = torch.empty(len(models), min(size, share))
        for model, row in zip(models, values, strict=True):
            model.read_into(name, start, start + len(row), row)
        apart = (values - values[0]).double()
        total += apart @ apart.T
    return total


def _in_all(name: str, models: Sequence[Checkpoint]) -> bool:
    try:
        return len({model.spec(name).shape for model in models}) == 1
    except ConsortError:
        return False
