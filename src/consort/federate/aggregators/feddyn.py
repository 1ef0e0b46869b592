"""FedDyn (Acar et al. 2021, arXiv 2111.04263): each client's loss is changed so that their minima come to agree.

A client minimises L_i(w) - <h_i, w> + alpha/2 |w - w_0|^2, then h_i <- h_i - alpha (w_i - w_0); the server keeps
h <- h - alpha/N sum D_i and takes the plain mean of those who took part minus h / alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from torch import Tensor

from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, mean, moved, shares, zeros
from consort.federate.local import LocalRule, Trained
from consort.federate.state import Memory, State, Update, trained_names


class Dynamic(LocalRule):
    """alpha/2 |w - w_0|^2 - <h_i, w> beside the loss."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def penalty(self, now: Mapping[str, Tensor], start: State, received: State, memory: Memory) -> Tensor | None:
        whole: Tensor | None = None
        for name, value in now.items():
            term = self.alpha / 2 * (value - start[name].to(value)).square().sum()
            if name in memory:
                term = term - (memory[name].to(value) * value).sum()
            whole = term if whole is None else whole + term
        return whole

    def finish(self, trained: Trained, received: State, memory: Memory) -> tuple[State, Memory]:
        own = {}
        for name in trained.end:
            change = trained.end[name].double() - trained.start[name].double()
            own[name] = memory.get(name, zeros(trained.start, name)) - self.alpha * change
        return {}, own


@aggregator(paper="2111.04263", space="fixed", local=Dynamic)
def feddyn(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    clients: int,
    *,
    alpha: Annotated[float, Range(0.000000001, 1000)] = 0.01,
) -> tuple[State, Memory]:
    """The plain mean of the clients minus h / alpha, h the server's sum of how far they were from agreeing."""
    weights = shares(updates, "uniform")
    names = trained_names(base)
    state, remembered = kept(base, names), {}
    for name in names:
        average = mean(updates, weights, name)
        change = (average - base[name].double()) * (len(updates) / clients)
        h = memory.get(f"h/{name}", zeros(base, name)) - alpha * change
        state[name] = moved(base[name], average - h / alpha)
        remembered[f"h/{name}"] = h
    return state, remembered
