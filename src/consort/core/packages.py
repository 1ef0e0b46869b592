"""Packages that can be called: `consort.merge(...)` although `consort.merge` is a package."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        function = getattr(self, self.__name__.rpartition(".")[2])
        return function(*arguments, **named)


def callable_package(name: str) -> None:
    """Let the package `name` be called as its member of the same name."""
    sys.modules[name].__class__ = _CallablePackage
