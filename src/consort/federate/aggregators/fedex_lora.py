"""FedEx-LoRA (Singhal et al. 2024, arXiv 2410.09432): factors are averaged, and what that misses goes into the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from consort.federate.aggregation import aggregator
from consort.federate.averaging import mean, moved, shares
from consort.federate.low_rank import Factors, averaged, minus, needed_modules, other_names, stacked, with_factors
from consort.federate.state import RESIDUAL, TOLD, Memory, State, Update


@aggregator(paper="2410.09432", space="factors")
def fedex_lora(
    base: State, updates: Sequence[Update], memory: Memory, *, weighting: Literal["samples", "uniform"] = "samples"
) -> tuple[State, Memory]:
    """Means of the factors; the mean of the products minus their product is added to the frozen weights: exact.

    All clients have one rank. The residual, a dense matrix a module, is sent with the state.
    """
    weights = shares(updates, weighting)
    state = {name: base[name] for name in base if name.endswith(RESIDUAL)}
    state |= {name: moved(base[name], mean(updates, weights, name)) for name in other_names(base)}
    missed, whole = 0.0, 0.0
    for module in needed_modules(base, "fedex_lora"):
        exact = stacked(updates, weights, module)
        kind = base[module + ".lora_A.weight"].dtype
        means = Factors(*(part.to(kind).double() for part in averaged(updates, weights, module)))
        rest = minus(exact, means).product()
        state |= with_factors(base, module, means, rest)
        missed, whole = missed + float(rest.square().sum()), whole + float(exact.product().square().sum())
    folded = (missed / whole) ** 0.5 if whole else 0.0
    return state, {f"{TOLD}folded_share": torch.tensor(folded, dtype=torch.float64)}
