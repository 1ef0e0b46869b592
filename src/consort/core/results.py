"""results.json: what a run ended with, in one schema for every verb; the only writer, and the check of its version.

    schema       its version, SCHEMA          consort    version of consort that wrote it
    verb         auto, search, fit, fuse, ...  details    {name: JSON}: what only some verbs have; shown by views

and the keys of CONTENT, which report/schema.py describes and checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from consort.core.errors import BadData
from consort.core.files import machine_errors, write_json
from consort.core.version import __version__

RESULTS_FILE = "results.json"
SCHEMA = 1
MAX_BYTES = 200_000_000
CONTENT = (
    "task",
    "seed",
    "base",
    "notes",
    "singles",
    "singles_fit",
    "candidates",
    "decision",
    "winner",
    "test",
    "examples",
    "prices",
    "seconds",
    "objective",
    "selection",
    "front",
    "search",
    "details",
    "provenance",
)


def document(verb: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of results.json. Raises ValueError for keys that the schema does not have: they go to `details`."""
    strange = set(content) - set(CONTENT)
    if strange:
        raise ValueError(f"results.json has no {', '.join(sorted(strange))}; put it into details")
    return {"schema": SCHEMA, "consort": __version__, "verb": verb, **{k: content[k] for k in CONTENT if k in content}}


def write_results(folder: Path, verb: str, content: Mapping[str, Any]) -> Path:
    """Write results.json of a run of `verb` into its folder, whole or not at all; returns where it is.

    Keys that a verb has nothing for are left out; NaN and infinity are refused.
    """
    path = folder / RESULTS_FILE
    write_json(path, document(verb, content))
    return path


def read_results(folder: Path) -> dict[str, Any]:
    """The JSON of a folder's results.json, its version checked. Raises BadData naming what is missing or wrong."""
    path = folder / RESULTS_FILE
    hint = "give the folder of a finished run"
    if not path.is_file():
        raise BadData("no such file", field=str(path), hint=hint)
    if path.stat().st_size > MAX_BYTES:
        raise BadData(f"larger than {MAX_BYTES:,} bytes", field=str(path), hint=hint)
    with machine_errors(path):
        content = path.read_bytes()
    try:
        raw = json.loads(content.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as fault:
        raise BadData(f"not JSON: {fault}", field=str(path), hint="the file is damaged; run it again") from None
    if not isinstance(raw, dict):
        raise BadData("not a JSON object", field=str(path), hint="the file is damaged; run it again")
    check_version(raw, path)
    return raw


def check_version(raw: Mapping[str, Any], path: Path) -> None:
    """Raise BadData for a schema that this consort does not read, naming both."""
    found = raw.get("schema")
    if found == SCHEMA and not isinstance(found, bool):
        return
    by = f", written by consort {raw['consort']}" if isinstance(raw.get("consort"), str) else ""
    what = "has no schema" if found is None else f"has schema {found!r}"
    newer = isinstance(found, int) and found > SCHEMA
    again = "run the same command again with --force, or into a new folder: what an older consort wrote is not read"
    hint = "a newer consort reads it" if newer else again
    raise BadData(f"{what}{by}; consort {__version__} reads schema {SCHEMA}", field=str(path), hint=hint)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
