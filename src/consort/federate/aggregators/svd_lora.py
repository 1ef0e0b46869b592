"""The mean of LoRA products as one product of the same rank: the best there is, by singular values.

(d + k)(sum r)^2 operations, by QR of the stacked factors; the dense product is never made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch

from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import mean, moved, shares
from consort.federate.low_rank import A, minus, needed_modules, other_names, stacked, truncated, with_factors
from consort.federate.state import RESIDUAL, TOLD, Memory, State, Update


@aggregator(paper="truncated SVD of the mean product", space="factors")
def svd_lora(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    *,
    rank: Annotated[int, Range(1, 65536)] | None = None,
    residual: Literal["drop", "base"] = "drop",
    weighting: Literal["samples", "uniform"] = "samples",
) -> tuple[State, Memory]:
    """The best product of rank `rank` (by default the base's) of the mean of the clients' products.

    Clients may differ in rank. What does not fit is dropped and its share of the energy told, or, with
    `residual: base`, added to the frozen weights, which makes the mean exact.
    """
    weights = shares(updates, weighting)
    state = {name: base[name] for name in base if name.endswith(RESIDUAL)}
    state |= {name: moved(base[name], mean(updates, weights, name)) for name in other_names(base)}
    lost = []
    for module in needed_modules(base, "svd_lora"):
        whole = stacked(updates, weights, module)
        best, left = truncated(whole, rank or base[module + A].shape[0])
        lost.append(left)
        state |= with_factors(base, module, best, minus(whole, best).product() if residual == "base" else None)
    told = {f"{TOLD}discarded_energy": torch.tensor(sum(lost) / len(lost), dtype=torch.float64)}
    return state, told
