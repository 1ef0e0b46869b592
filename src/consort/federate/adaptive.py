"""Adaptive server steps (Reddi et al. 2020, arXiv 2003.00295): w <- w + lr m / (sqrt(u) + tau); no bias correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from consort.federate.averaging import kept, mean, moved, shares
from consort.federate.state import Memory, State, Update, trained_names

Second = Callable[[Tensor, Tensor], Tensor]
"""The next u of the last one and the square of what `second` names."""


def adaptive_step(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    grown: Second,
    *,
    lr: float,
    beta1: float,
    tau: float,
    second: str,
    weighting: str,
    first_full_step: bool = False,
) -> tuple[State, Memory]:
    """m <- beta1 m + (1 - beta1) D, u <- grown(u, D^2), D = sum a_i D_i; m_0 = 0, u_0 = tau^2."""
    weights = shares(updates, weighting)
    names = trained_names(base)
    state, remembered = kept(base, names), dict[str, Tensor]()
    for name in names:
        average = mean(updates, weights, name)
        delta = average - base[name].double()
        last = memory.get(f"m/{name}")
        m = delta if last is None and first_full_step else (1 - beta1) * delta
        m = m if last is None else beta1 * last + m
        u = memory.get(f"u/{name}")
        u = grown(torch.full_like(delta, tau**2) if u is None else u, (m if second == "momentum" else delta).square())
        state[name] = moved(base[name], average, lr * m / (u.sqrt() + tau))
        remembered |= {f"m/{name}": m, f"u/{name}": u}
    return state, remembered
