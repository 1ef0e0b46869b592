"""FedAvg (McMahan et al. 2017, arXiv 1602.05629): the mean of the clients' states, by their numbers of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, mean, moved, shares
from consort.federate.state import Memory, State, Update, trained_names


@aggregator(paper="1602.05629", linear=True)
def fedavg(
    base: State, updates: Sequence[Update], memory: Memory, *, weighting: Literal["samples", "uniform"] = "samples"
) -> tuple[State, Memory]:
    """The mean of the clients' states: w + sum a_i D_i.

    `weighting`: a client counts by its number of samples, or all count alike.
    """
    weights = shares(updates, weighting)
    names = trained_names(base)
    return kept(base, names) | {n: moved(base[n], mean(updates, weights, n)) for n in names}, {}
