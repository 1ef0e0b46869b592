"""FLoRA (Wang et al. 2024, arXiv 2409.05976): stacked factors, which are exact, are merged into the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from consort.federate.aggregation import aggregator
from consort.federate.averaging import mean, moved, shares
from consort.federate.low_rank import Factors, factors_of, needed_modules, other_names, stacked, with_factors
from consort.federate.state import RESIDUAL, Memory, State, Update


@aggregator(paper="2409.05976", space="factors")
def flora_stack(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    *,
    merge: bool = True,
    weighting: Literal["samples", "uniform"] = "samples",
) -> tuple[State, Memory]:
    """All factors stacked: the mean of the products exactly, of rank sum r. Clients may differ in rank.

    With `merge` it is added to the frozen weights and the next round begins with the base's A and B = 0; without, the
    stacked factors are the state, and the rank grows.
    """
    weights = shares(updates, weighting)
    state = {name: base[name] for name in base if name.endswith(RESIDUAL)}
    state |= {name: moved(base[name], mean(updates, weights, name)) for name in other_names(base)}
    for module in needed_modules(base, "flora_stack"):
        whole = stacked(updates, weights, module)
        if not merge:
            state |= with_factors(base, module, whole)
            continue
        old = factors_of(base, module)
        state |= with_factors(base, module, Factors(torch.zeros_like(old.b), old.a), whole.product())
    return state, {}
