"""FedAvgM (Hsu et al. 2019, arXiv 1909.06335): server momentum on the mean change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, mean, moved, shares, zeros
from consort.federate.state import Memory, State, Update, trained_names


@aggregator(paper="1909.06335", space="fixed", linear=True)
def fedavgm(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    *,
    beta: Annotated[float, Range(0, 0.9999)] = 0.9,
    lr: Annotated[float, Range(0, 1000)] = 1.0,
    ema: bool = False,
    weighting: Literal["samples", "uniform"] = "samples",
) -> tuple[State, Memory]:
    """v <- beta v + D, w <- w + lr v, D the mean change; `ema` takes (1 - beta) D, as OpenFedLLM's code does."""
    weights = shares(updates, weighting)
    names = trained_names(base)
    state, remembered = kept(base, names), {}
    for name in names:
        average = mean(updates, weights, name)
        delta = average - base[name].double()
        last = memory.get(f"v/{name}", zeros(base, name))
        v = beta * last + ((1 - beta) * delta if ema else delta)
        state[name] = moved(base[name], average, lr * v)
        remembered[f"v/{name}"] = v
    return state, remembered
