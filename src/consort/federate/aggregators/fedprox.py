"""FedProx (Li et al. 2018, arXiv 1812.06127): FedAvg of clients that are held near the state they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from torch import Tensor

from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, mean, moved, shares
from consort.federate.local import LocalRule
from consort.federate.state import Memory, State, Update, trained_names


class Proximal(LocalRule):
    """mu/2 |w - w_0|^2 beside the loss."""

    def __init__(self, mu: float) -> None:
        self.mu = mu

    def penalty(self, now: Mapping[str, Tensor], start: State, received: State, memory: Memory) -> Tensor | None:
        if not self.mu:
            return None
        terms = [(value - start[name].to(value)).square().sum() for name, value in now.items()]
        whole: Tensor = self.mu / 2 * sum(terms[1:], terms[0])
        return whole


@aggregator(paper="1812.06127", local=Proximal, linear=True)
def fedprox(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    *,
    mu: Annotated[float, Range(0, 1000)] = 0.01,
    weighting: Literal["samples", "uniform"] = "samples",
) -> tuple[State, Memory]:
    """The mean of the clients' states, each held near its start by `mu`/2 times the squared distance in its loss."""
    weights = shares(updates, weighting)
    names = trained_names(base)
    return kept(base, names) | {n: moved(base[n], mean(updates, weights, n)) for n in names}, {}
