"""Trimmed mean (Yin et al. 2018, arXiv 1803.01498)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.federate.aggregation import aggregator
from consort.federate.robust import entrywise
from consort.federate.state import Memory, State, Update

logger = logging.getLogger(__name__)


@aggregator(paper="1803.01498", robust=True)
def trimmed_mean(
    base: State, updates: Sequence[Update], memory: Memory, *, trim: Annotated[float, Range(0, 0.5)] = 0.1
) -> tuple[State, Memory]:
    """The mean, entry by entry, without the floor(`trim` · S) smallest and as many of the largest of S clients.

    Holds against as many liars as are cut at one end: with few clients a small `trim` cuts nobody, which is warned of.
    """
    count = len(updates)
    cut = int(trim * count + 1e-9)
    if 2 * cut >= count:
        what = f"cutting {cut} at both ends of {count} leaves nobody"
        raise BadParameter(what, field="trim", hint=f"less than {count // 2 / count:g}")
    if trim and not cut:
        logger.warning("trimmed_mean: %g of %d clients is nobody: nothing is trimmed; use %g", trim, count, 1 / count)
    return entrywise(base, updates, lambda rows: rows.sort(dim=0).values[cut : count - cut].mean(0)), {}
