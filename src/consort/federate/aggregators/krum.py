"""Krum (Blanchard et al. 2017, NeurIPS): the client that lies nearest to its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept
from consort.federate.robust import check_count, distances, krum_scores
from consort.federate.state import Memory, State, Update, trained_names


@aggregator(paper="1703.02757", robust=True)
def krum(
    base: State, updates: Sequence[Update], memory: Memory, *, f: Annotated[int, Range(0, 100000)] = 1
) -> tuple[State, Memory]:
    """One client's state: that of least summed squared distance to its S - f - 2 nearest others.

    Holds against `f` liars among S >= 2f + 3.
    """
    check_count("krum", len(updates), 2 * f + 3, f)
    names = trained_names(base)
    best = int(krum_scores(distances(updates, names), f).argmin())
    return kept(base, names) | {name: updates[best].state[name].to(base[name].dtype) for name in names}, {}
