"""Plug-ins: modules of other distributions that entry points of the groups `consort.KIND` name; none is imported here.

[project.entry-points."consort.merge"]
halfway = "my_package.halfway"
"""

from __future__ import annotations

import ast
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

_LOG = logging.getLogger("consort.plugins")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A module that an entry point names, the file it is read from, and the distribution it belongs to."""

    home: str
    module: str
    file: Path


def plugins(group: str) -> list[Plugin]:
    """The plug-ins of a group, by distribution and module. One that cannot be imported is left out with a warning."""
    found = {}
    for point in _select_points()(group=group):
        home = point.dist.name if point.dist else point.value
        plugin = Plugin(home, point.module, Path())
        try:
            found[home, point.module] = Plugin(home, point.module, _readable_source(point.module))
        except (ImportError, OSError, SyntaxError, ValueError) as error:
            warn_of(plugin, str(error))
    return [found[key] for key in sorted(found)]


def warn_of(plugin: Plugin, why: str) -> None:
    """Tell the user once that a plug-in is left out."""
    if (plugin.home, plugin.module) not in _told:
        _told.add((plugin.home, plugin.module))
        _LOG.warning("the plug-in %s (%s) is left out: %s", plugin.home, plugin.module, why)


_told: set[tuple[str, str]] = set()


@cache
def _select_points() -> Callable[..., EntryPoints]:
    """Selects among the entry points of all distributions, whose files are looked through once for all registries."""
    return entry_points().select


def _readable_source(module: str) -> Path:
    """The file of a module, found without importing it or its packages.

    Raises ImportError for a module that is not there, and for one that would not import, as far as its source shows.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise ImportError(f"there is no module {top}")
    file, folders = Path(spec.origin), list(spec.submodule_search_locations or [])
    for part in rest:
        places = [Path(folder) / name for folder in folders for name in (f"{part}/__init__.py", f"{part}.py")]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise ImportError(f"there is no module {module}")
        file, folders = found, [str(found.parent)]
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Raise):
            raise ImportError(f"{module} raises when it is imported")
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if importlib.util.find_spec(name.partition(".")[0]) is None:
                raise ImportError(f"{module} imports {name}, which is not installed")
    return file
