"""Merging in weight space: many checkpoints in, one lazy checkpoint out. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consort.merge.methods  # noqa: F401  (the package; loaded later, it would take the name from the registry)
from consort.core.packages import callable_package
from consort.merge.registry import methods

if TYPE_CHECKING:
    from consort.merge.engine.merged import Merged, merge
    from consort.merge.method import Method

__all__ = ["Merged", "Method", "merge", "methods"]


def __getattr__(name: str) -> Any:
    if name in ("Merged", "merge"):
        from consort.merge.engine import merged as engine

        return getattr(engine, name)
    if name == "Method":
        from consort.merge.method import Method

        return Method
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


callable_package(__name__)
