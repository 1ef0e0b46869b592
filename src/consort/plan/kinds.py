"""Every name a plan can use, over all registries: `core.catalogue`, by the name that plans know it."""

from consort.core.catalogue import (
    EXPRESSED,
    callable_names,
    entries,
    find,
    is_expression,
    makers,
    registries,
)

__all__ = ["EXPRESSED", "callable_names", "entries", "find", "is_expression", "makers", "registries"]
