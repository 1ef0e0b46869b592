"""FedNova (Wang et al. 2020, arXiv 2007.07481): changes are divided by the number of local steps that made them.

So a client that makes more steps does not pull the mean to its own minimum. Exact for local gradient descent without
momentum; with another optimiser a step counts as one all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, mean, moved, shares
from consort.federate.state import Memory, State, Update, trained_names


@aggregator(paper="2007.07481")
def fednova(
    base: State, updates: Sequence[Update], memory: Memory, *, weighting: Literal["samples", "uniform"] = "samples"
) -> tuple[State, Memory]:
    """w + (sum a_i K_i) (sum a_i D_i / K_i), K_i the local steps."""
    weights = shares(updates, weighting)
    effective = sum(a * u.steps for a, u in zip(weights, updates, strict=True))
    scaled = [a / u.steps for a, u in zip(weights, updates, strict=True)]
    whole = sum(scaled)
    names = trained_names(base)
    state = kept(base, names)
    for name in names:
        average = mean(updates, [s / whole for s in scaled], name)
        change = average - base[name].double()
        equal = effective * whole == 1.0
        state[name] = moved(base[name], average, None if equal else effective * whole * change)
    return state, {}
