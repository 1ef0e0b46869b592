"""Plug-ins: modules of other distributions that entry points of the groups `consort.KIND` name; none is imported here.

[project.entry-points."consort.merge"]
halfway = "my_package.halfway"
"""

from __future__ import annotations

import ast
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from consort.core.errors import listing

GROUPS = "consort."
_LOG = logging.getLogger("consort.plugins")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A module that an entry point names, the file it is read from, and the distribution it belongs to."""

    home: str
    module: str
    file: Path


def plugins(group: str) -> list[Plugin]:
    """The plug-ins of a group, by distribution and module.

    Those that cannot be imported are left out, with one warning for all of a distribution.
    """
    return _found().get(group, [])


def warn_of(plugin: Plugin, why: str) -> None:
    """Say in the log that a plug-in is left out."""
    _LOG.warning("the plug-in %s (%s) is left out: %s", plugin.home, plugin.module, why)


@cache
def _found() -> dict[str, list[Plugin]]:
    """The plug-ins of every group; the files of distributions are looked through once for all registries."""
    from importlib.metadata import entry_points  # half of what `consort --help` may take

    points = entry_points()
    found: dict[str, dict[tuple[str, str], Plugin]] = {}
    faults: dict[str, dict[str, None]] = {}
    for group in sorted(group for group in points.groups if group.startswith(GROUPS)):
        for point in points.select(group=group):
            home = point.dist.name if point.dist else point.value
            try:
                plugin = Plugin(home, point.module, _readable_source(point.module))
            except (ImportError, OSError, SyntaxError, ValueError) as error:
                faults.setdefault(home, {})[_said(point.module, error)] = None
            else:
                found.setdefault(group, {})[home, point.module] = plugin
    whole = {home for plugins in found.values() for home, _ in plugins}
    for home, reasons in faults.items():
        _LOG.warning("the plug-in %s is left out%s: %s", home, " in part" if home in whole else "", listing(reasons))
    return {group: [plugins[key] for key in sorted(plugins)] for group, plugins in found.items()}


def _said(module: str, error: Exception) -> str:
    return str(error) if isinstance(error, ImportError) else f"{module}: {error}"


def _readable_source(module: str) -> Path:
    """The file of a module, found without importing it or its packages; a package needs no `__init__.py`.

    Raises ImportError for a module that is not there, and for one that would not import, as far as its source shows.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ImportError(f"there is no module {top}")
    folders = list(spec.submodule_search_locations or [])
    file = Path(spec.origin) if spec.origin else None
    for part in rest:
        file, folders = _inside(folders, part)
        if file is None and not folders:
            raise ImportError(f"there is no module {module}")
    if file is None:
        raise ImportError(f"{module} is a folder without an __init__.py: name a module of it")
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Raise):
            raise ImportError(f"{module} raises when it is imported")
        for name in _absolute_imports(node):
            if importlib.util.find_spec(name.partition(".")[0]) is None:
                raise ImportError(f"{module} imports {name}, which is not installed")
    return file


def _inside(folders: Sequence[str], part: str) -> tuple[Path | None, list[str]]:
    """The file of a member of a package that lies in `folders`, None for a folder alone; and its own folders."""
    for folder in map(Path, folders):
        if (folder / part / "__init__.py").is_file():
            return folder / part / "__init__.py", [str(folder / part)]
        if (folder / f"{part}.py").is_file():
            return folder / f"{part}.py", []
    return None, [str(Path(folder) / part) for folder in folders if (Path(folder) / part).is_dir()]


def _absolute_imports(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
