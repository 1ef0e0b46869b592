"""FedAdagrad (Reddi et al. 2020, arXiv 2003.00295): an adaptive server step; u <- u + D^2, m = D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.core.params import Range
from consort.federate.adaptive import adaptive_step
from consort.federate.aggregation import aggregator
from consort.federate.state import Memory, State, Update


@aggregator(paper="2003.00295", space="fixed", linear=True)
def fedadagrad(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    *,
    lr: Annotated[float, Range(0, 1000)] = 0.01,
    tau: Annotated[float, Range(0.000000000001, 1000)] = 0.001,
    second: Literal["delta", "momentum"] = "delta",
    weighting: Literal["samples", "uniform"] = "samples",
) -> tuple[State, Memory]:
    """w <- w + lr D / (sqrt(u) + tau), D the mean change, u <- u + D^2.

    Tune `lr`: the published defaults are 1e-3 and 1e-2. `second: momentum` squares m, which is D here.
    """
    return adaptive_step(
        base,
        updates,
        memory,
        lambda u, square: u + square,
        lr=lr,
        beta1=0.0,
        tau=tau,
        second=second,
        weighting=weighting,
    )
