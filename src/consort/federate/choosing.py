"""Aggregators by name, as plans write them: a rule of this package, or a merge method that works on differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consort.core.errors import UnknownName, did_you_mean
from consort.core.kinds import named
from consort.federate.aggregation import Aggregator
from consort.federate.aggregators import AGGREGATORS


def aggregator_of(value: str | Mapping[str, Any] | Aggregator, *, seed: int = 0) -> Aggregator:
    """The aggregator that a name or `{name: {parameter: value}}` means; `seed` is for merge methods that draw.

    Raises UnknownName with a did-you-mean, BadParameter for a value out of range.
    """
    if isinstance(value, Aggregator):
        return value
    name, params = named(value, "aggregator")
    bare = name.removeprefix("aggregator.")
    if bare in AGGREGATORS:
        return AGGREGATORS.get(bare)(**params)
    from consort.federate.merging import merging, merging_names
    from consort.merge.registry import methods

    bare = name.removeprefix("merge.")
    if bare in methods:
        return merging(bare, params, seed=seed)
    known = [*AGGREGATORS, *merging_names()]
    raise UnknownName(f"no aggregator named {name!r}", field="aggregator", hint=did_you_mean(name, known))
