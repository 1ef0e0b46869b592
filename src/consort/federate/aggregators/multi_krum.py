"""Multi-Krum (Blanchard et al. 2017, arXiv 1703.02757): the mean of the clients nearest to their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.averaging import kept, mean, moved
from consort.federate.robust import check_count, distances, krum_scores
from consort.federate.state import Memory, State, Update, trained_names


@aggregator(paper="1703.02757", robust=True)
def multi_krum(
    base: State,
    updates: Sequence[Update],
    memory: Memory,
    *,
    f: Annotated[int, Range(0, 100000)] = 1,
    m: Annotated[int, Range(1, 100000)] | None = None,
) -> tuple[State, Memory]:
    """The plain mean of the `m` clients with the best scores of Krum; by default of S - f.

    Holds against `f` liars among S >= 2f + 3.
    """
    count = len(updates)
    check_count("multi_krum", count, 2 * f + 3, f)
    taken = count - f if m is None else m
    if taken > count:
        raise BadParameter(f"{taken} of {count} clients", field="m", hint=f"at most {count}")
    names = trained_names(base)
    order = krum_scores(distances(updates, names), f).argsort(stable=True)[:taken].tolist()
    best = [updates[i] for i in sorted(order)]
    weights = [1 / taken] * taken
    return kept(base, names) | {name: moved(base[name], mean(best, weights, name)) for name in names}, {}
