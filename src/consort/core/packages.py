"""Faces of packages: names imported on first use, and packages that can be called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any]]:
    """A package's `__all__` and `__getattr__`, by which each name imports its home, a module of the package.

    So `import consort.weights` alone imports no torch.

    >>> names, get = lazy_names("consort.core", {"did_you_mean": "errors"})
    >>> names, get("did_you_mean").__name__
    (['did_you_mean'], 'did_you_mean')
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return sorted(homes), get


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        function = getattr(self, self.__name__.rpartition(".")[2])
        return function(*arguments, **named)


def callable_package(name: str) -> None:
    """Let the package `name` be called as its member of the same name: `consort.merge(...)`."""
    sys.modules[name].__class__ = _CallablePackage
