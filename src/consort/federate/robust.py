"""What robust rules share: all clients' entries of one tensor, and squared distances between whole updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from consort.core.errors import BadParameter
from consort.federate.averaging import kept
from consort.federate.state import State, Update, entries, trained_names

BLOCK = 2**19
"""Entries of all clients together that are held in float64 at once."""


def entrywise(
    base: State, updates: Sequence[Update], rule: Callable[[Float64[Tensor, "client entry"]], Tensor]
) -> dict[str, Tensor]:
    """The state whose entries are what `rule` makes of the clients' entries, a block of entries at a time."""
    names = trained_names(base)
    state = kept(base, names)
    for name in names:
        found = torch.empty(base[name].numel(), dtype=torch.float64)
        size = max(1, BLOCK // len(updates))
        for start in range(0, len(found), size):
            stop = min(start + size, len(found))
            found[start:stop] = rule(torch.stack([entries(u.state, name, start, stop).double() for u in updates]))
        state[name] = found.view(base[name].shape).to(base[name].dtype)
    return state


def distances(updates: Sequence[Update], names: Sequence[str]) -> Float64[Tensor, "client client"]:
    """Squared distances of every two clients' whole states, a pair of tensors at a time."""
    count = len(updates)
    found = torch.zeros(count, count, dtype=torch.float64)
    for name in names:
        for i in range(count):
            one = updates[i].state[name].double()
            for j in range(i + 1, count):
                found[i, j] += (one - updates[j].state[name].double()).square().sum()
    return found + found.T


def krum_scores(squares: Float64[Tensor, "client client"], f: int) -> Float64[Tensor, " client"]:
    """For each client the summed squared distance to its S - f - 2 nearest others."""
    count = len(squares)
    nearest = squares.sort(dim=1).values[:, 1:]  # the first is the client itself
    return nearest[:, : count - f - 2].sum(1)


def check_count(rule: str, count: int, least: int, f: int) -> None:
    """Raise BadParameter unless there are enough clients for f liars among them."""
    if count < least:
        what = f"{count} updates are too few for f = {f}; it needs {least}"
        raise BadParameter(what, field=rule, hint="take more clients in a round, or a smaller f")
