"""SCAFFOLD (Karimireddy et al. 2019, arXiv 1910.06378): control variates c correct what clients drift apart by.

A client's gradient is g + c - c_i; afterwards c_i+ = c_i - c + (w - w_i) / (K lr), which is exact for plain gradient
descent. With another optimiser it is the mean gradient of the client's own loss. The correction is made before the
optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from torch import Tensor

from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, mean, moved, shares, zeros
from consort.federate.local import LocalRule, Trained
from consort.federate.state import Memory, State, Update, split_off, trained_names


class ControlVariates(LocalRule):
    """<c - c_i, w> beside the loss; c_i+ - c_i is sent."""

    needs_gradient = True
    sgd = True

    def penalty(self, now: Mapping[str, Tensor], start: State, received: State, memory: Memory) -> Tensor | None:
        terms = []
        for name, value in now.items():
            correction = _or_zero(received, name, start) - _or_zero(memory, name, start)
            if bool(correction.any()):
                terms.append((correction.to(value) * value).sum())
        return sum(terms[1:], terms[0]) if terms else None

    def finish(self, trained: Trained, received: State, memory: Memory) -> tuple[State, Memory]:
        sent, own = {}, {}
        for name in trained.end:
            c, c_i = _or_zero(received, name, trained.start), _or_zero(memory, name, trained.start)
            moved = (trained.start[name].double() - trained.end[name].double()) / trained.rates
            own[name] = c_i - c + moved if trained.plain else trained.gradient[name].double()
            sent[name] = own[name] - c_i
        return sent, own


def _or_zero(state: State, name: str, like: State) -> Tensor:
    return state[name].double() if name in state else zeros(like, name)


@aggregator(paper="1910.06378", space="fixed", local=ControlVariates, sends="control")
def scaffold(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    clients: int,
    *,
    lr: Annotated[float, Range(0, 1000)] = 1.0,
    weighting: Literal["samples", "uniform"] = "samples",
) -> tuple[State, Memory]:
    """w <- w + lr sum a_i D_i and c <- c + (1/N) sum (c_i+ - c_i) over those who took part, N clients in all."""
    weights = shares(updates, weighting)
    names = trained_names(base)
    state, control = kept(base, names), split_off(memory, "control")
    for name in names:
        average = mean(updates, weights, name)
        state[name] = moved(base[name], average, None if lr == 1 else lr * (average - base[name].double()))
        changes = [u.aux[name].double() for u in updates if name in u.aux]
        control[name] = control.get(name, zeros(base, name)) + sum(changes, zeros(base, name)) / clients
    return state, {f"control/{name}": value for name, value in control.items()}
