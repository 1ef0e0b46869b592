"""Detectors: how far an answer is to be doubted, where, and what to do about it. Importing this imports no numpy.

A detector is one class in one file of this package. `needs` says what of a case it works from (`models/detecting.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from consort.core.params import name_of
from consort.core.registry import Registry

D = TypeVar("D", bound=type)

detectors: Registry[Any] = Registry("detector", "consort.cooperate.detect", decorator="detector", produces="detector")
guards: Registry[type] = Registry("guard", "consort.cooperate.detect", decorator="guard", produces="model")
guard = guards.registrar()
"""The decorator of models that a detector watches over."""
remedies: Registry[Any] = Registry("remedy", "consort.cooperate.detect", decorator="remedy", produces="remedy")
remedy = remedies.registrar()
"""The decorator of what may be done about an answer in doubt."""
_register = detectors.registrar()


def detector(*, needs: tuple[str, ...] = (), paper: str = "", **more: Any) -> Callable[[D], D]:
    """The decorator of a detector.

    `needs`: the parts of a case that it works from; `example`: arguments with which the laws build it; `exempt`: the
    laws that it does not keep, with the reason.
    """

    def register(made: D) -> D:
        made.needs = tuple(needs)  # type: ignore[attr-defined]
        made.name = name_of(made.__name__)  # type: ignore[attr-defined]
        return _register(needs=needs, paper=paper, **more)(made)

    return register


__all__ = ["detector", "detectors", "guard", "guards", "remedies", "remedy"]
