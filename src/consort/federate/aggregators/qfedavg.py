"""q-FedAvg (Li et al. 2020, arXiv 1905.10497): clients with a larger loss count more, so that all fare alike.

With L = 1 / lr, F_k the client's loss at the state it was given and d_k = -L D_k: w <- w - sum F_k^q d_k / sum h_k,
h_k = q F_k^(q-1) |d_k|^2 + L F_k^q. With q = 0 this is FedAvg of equal weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.errors import Unsupported
from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, moved, zeros
from consort.federate.state import Memory, State, Update, difference_norm, trained_names


@aggregator(paper="1905.10497")
def qfedavg(
    base: State, updates: Sequence[Update], memory: Memory, *, q: Annotated[float, Range(0, 100)] = 0.2
) -> tuple[State, Memory]:
    """A mean in which clients count by their loss to the power q, with a step that their curvature bounds."""
    names = trained_names(base)
    factors, whole = [], 0.0
    for update in updates:
        if "loss" not in update.metrics:
            hint = "a client must tell its loss at the state it is given: metrics={'loss': …}"
            raise Unsupported("tells no loss", field=update.client, hint=hint)
        loss, lipschitz = max(update.metrics["loss"], 1e-10), 1 / update.lr
        norm = lipschitz * difference_norm(update.state, base, names)
        factors.append(loss**q * lipschitz)
        whole += q * loss ** (q - 1) * norm**2 + lipschitz * loss**q
    state = kept(base, names)
    for name in names:
        step = zeros(base, name)
        for factor, update in zip(factors, updates, strict=True):
            step += factor / whole * (update.state[name].double() - base[name].double())
        state[name] = moved(base[name], base[name].double() + step)
    return state, {}
