"""Bulyan (El Mhamdi et al. 2018, arXiv 1802.07927): Krum chooses clients, a trimmed mean about the median ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from jaxtyping import Float64
from torch import Tensor

from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.robust import check_count, distances, entrywise, krum_scores
from consort.federate.state import Memory, State, Update, trained_names


def closest_mean(
    rows: Float64[Tensor, "client entry"], centre: Float64[Tensor, " entry"], count: int
) -> Float64[Tensor, " entry"]:
    """The mean of the `count` values of each entry that are closest to its centre.

    >>> import torch
    >>> closest_mean(torch.tensor([[1.0], [2.0], [0.5]]).double(), torch.tensor([1.0]).double(), 2).item()
    0.75
    """
    order = (rows - centre).abs().argsort(dim=0, stable=True)[:count]
    return rows.gather(0, order).mean(0)


def chosen(squares: Float64[Tensor, "client client"], f: int, count: int) -> list[int]:
    """The clients that Krum chooses one after the other, each time among those that are left."""
    left = list(range(len(squares)))
    taken: list[int] = []
    while len(taken) < count:
        part = squares[left][:, left]
        near = krum_scores(part, min(f, max(0, len(left) - 3)))
        taken.append(left.pop(int(near.argmin())))
    return sorted(taken)


@aggregator(paper="1802.07927", robust=True)
def bulyan(
    base: State, updates: Sequence[Update], memory: Memory, *, f: Annotated[int, Range(0, 100000)] = 1
) -> tuple[State, Memory]:
    """Of the S - 2f clients that Krum chooses, the mean of the S - 4f values of each entry nearest to its median.

    Holds against `f` liars among S >= 4f + 3, also against one that hides a large change in a few entries.
    """
    count = len(updates)
    check_count("bulyan", count, 4 * f + 3, f)
    taken = [updates[i] for i in chosen(distances(updates, trained_names(base)), f, count - 2 * f)]

    def rule(rows: Float64[Tensor, "client entry"]) -> Float64[Tensor, " entry"]:
        middle = rows.sort(dim=0).values[[(len(rows) - 1) // 2, len(rows) // 2]].mean(0)
        return closest_mean(rows, middle, count - 4 * f)

    return entrywise(base, taken, rule), {}
