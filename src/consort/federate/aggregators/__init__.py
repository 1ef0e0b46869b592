"""How a server makes one state of its clients': one rule a file, both sides of it; a kind of thing in plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consort.core.registry import Registry

if TYPE_CHECKING:
    from consort.federate.aggregation import Rule

AGGREGATORS: Registry[Rule] = Registry(
    "aggregator", "consort.federate.aggregators", decorator="aggregator", produces="aggregator"
)
