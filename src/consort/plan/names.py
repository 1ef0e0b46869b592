"""Every name a plan can use, over all registries; imports no method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consort.cooperate.speculate import speculate
from consort.cooperate.transfer import transfer
from consort.core.errors import UnknownName, did_you_mean
from consort.core.registry import Entry, Registry
from consort.data.registry import METRICS
from consort.ensemble.after import after
from consort.ensemble.before import before
from consort.ensemble.during import during
from consort.merge import methods
from consort.merge.adapters import adapters
from consort.merge.trained import corrected, trained
from consort.merge.units import units
from consort.mixture import mixture, moe
from consort.models.registry import models
from consort.search.optimizers import optimizers
from consort.weights.registry import views

REGISTRIES: tuple[Registry[Any], ...] = (
    adapters,
    after,
    before,
    corrected,
    during,
    methods,
    mixture,
    models,
    moe,
    speculate,
    trained,
    transfer,
    units,
    views,
)


LISTED = (*REGISTRIES, METRICS, optimizers)
"""What `consort methods` shows: all that a plan's expressions name, and what a search names."""


def find(name: str, registries: Sequence[Registry[Any]] = REGISTRIES) -> tuple[Registry[Any], Entry]:
    """The first registry that has `name` or `kind.name`, and its entry. Raises UnknownName with a did-you-mean."""
    kind, _, bare = name.rpartition(".")
    for registry in registries:
        if kind in ("", registry.kind) and bare in registry:
            return registry, registry.entry(bare)
    known = [n for registry in registries for n in registry]
    raise UnknownName(f"no method named {name!r}", field=name, hint=did_you_mean(bare, known))


def entries(kind: str | None = None) -> list[Entry]:
    """All entries, or those of one kind, by kind and name. Raises UnknownName for an unknown kind."""
    kinds = {registry.kind: registry for registry in LISTED}
    if kind is not None and kind not in kinds:
        raise UnknownName(f"no kind of method named {kind!r}", field="kind", hint=did_you_mean(kind, kinds))
    chosen = [kinds[kind]] if kind else [kinds[k] for k in sorted(kinds)]
    return [entry for registry in chosen for entry in registry.entries().values()]
