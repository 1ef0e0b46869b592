"""FedYogi (Reddi et al. 2020, arXiv 2003.00295): an adaptive server step; u <- u - (1 - beta2) D^2 sign(u - D^2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.core.params import Range
from consort.federate.adaptive import adaptive_step
from consort.federate.aggregation import aggregator
from consort.federate.state import Memory, State, Update


@aggregator(paper="2003.00295", space="fixed", linear=True)
def fedyogi(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    *,
    lr: Annotated[float, Range(0, 1000)] = 0.01,
    beta1: Annotated[float, Range(0, 0.9999)] = 0.9,
    beta2: Annotated[float, Range(0, 0.9999)] = 0.99,
    tau: Annotated[float, Range(0.000000000001, 1000)] = 0.001,
    second: Literal["delta", "momentum"] = "delta",
    first_full_step: bool = False,
    weighting: Literal["samples", "uniform"] = "samples",
) -> tuple[State, Memory]:
    """w <- w + lr m / (sqrt(u) + tau), m a running mean of the change D, u <- u - (1 - beta2) D^2 sign(u - D^2).

    Tune `lr`: the published defaults are 1e-3 and 1e-2. `second: momentum` squares m in place of D, and
    `first_full_step` takes m = D in the first round, both as OpenFedLLM's code does.
    """
    return adaptive_step(
        base,
        updates,
        memory,
        lambda u, square: u - (1 - beta2) * square * (u - square).sign(),
        lr=lr,
        beta1=beta1,
        tau=tau,
        second=second,
        weighting=weighting,
        first_full_step=first_full_step,
    )
