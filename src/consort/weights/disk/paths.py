"""Files of a model folder: found and read only where they lie inside the folder that the user named."""

from __future__ import annotations

import json
import re
from os.path import isfile
from pathlib import Path
from typing import Any

from consort.core.errors import BadCheckpoint
from consort.core.files import machine_errors

MAX_JSON_BYTES = 25_000_000
"""Of a configuration or an index; tokenizers are copied, not parsed."""


def inside(folder: Path, entry: str, *, source: str) -> Path:
    """The path of the file `entry` of `folder`; `source` says who names it.

    The entry must be relative and stay inside, and so must what it links to. A folder of the hub's cache links into
    the blobs of the same cache, which is allowed. The file need not exist.
    """
    path = folder / "".join(c for c in entry if c != "\0")
    if _leaves(entry) or not _stays(folder, path):
        message = f"{entry!r:.200} escapes the folder"
        hint = "name files inside the model folder; copy a linked file into it"
        raise BadCheckpoint(message, field=f"{folder / source} entry", hint=hint)
    return path


def present(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Those of `names` that are files of `folder`, each path checked."""
    return {name: inside(folder, name, source=name) for name in names if isfile(folder / name)}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or BadCheckpoint naming the file and the line."""
    text = read_text(path, MAX_JSON_BYTES)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"is no valid JSON: {error}", field=str(path), hint="download or mend the file") from None
    if not isinstance(value, dict):
        raise BadCheckpoint("is no JSON object", field=str(path), hint="it should begin with {")
    return value


def read_text(path: Path, max_bytes: int) -> str:
    """A file's text, or BadCheckpoint if it is too large or no UTF-8."""
    with machine_errors(path):
        size = path.stat().st_size
        if size > max_bytes:
            message = f"has {size} bytes, the limit is {max_bytes}"
            raise BadCheckpoint(message, field=str(path), hint="is this the right file?")
        data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadCheckpoint(f"is no UTF-8 (byte {error.start})", field=str(path), hint="save it as UTF-8") from None


def _leaves(entry: str) -> bool:
    parts = re.split(r"[/\\]", entry)
    drive = re.match(r"[A-Za-z]:", entry)
    return not entry or "\0" in entry or "\\" in entry or drive is not None or parts[0] == "" or ".." in parts


def _stays(folder: Path, path: Path) -> bool:
    try:
        real, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, an impossible name
        return False
    if real.is_relative_to(home):
        return True
    snapshots = next((parent for parent in (home, *home.parents) if parent.name == "snapshots"), None)
    return snapshots is not None and real.parent == snapshots.parent / "blobs"
