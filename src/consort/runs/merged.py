"""What a merged folder tells of its making, in the form of results.json, so that it has a report like any run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consort.core.errors import BadData
from consort.core.files import machine_errors
from consort.core.results import document
from consort.data import dump_yaml

MANIFEST = "merge_manifest.json"
MAX_BYTES = 50_000_000
DAMAGED = "the merge's record is damaged; merge again with --force"


def is_merged(folder: Path) -> bool:
    """Whether a folder has the record of a merge."""
    return (folder / MANIFEST).is_file()


def merged_document(folder: Path) -> dict[str, Any]:
    """The plan, the inputs with their hashes, seed, options and output of a merge. Raises BadData for a damaged record.

    A merge measures nothing: there are no scores and no winner.
    """
    made = _read(folder / MANIFEST)
    plan, output = made.get("plan"), made.get("output")
    about: dict[str, Any] = {"folder": folder.resolve().name, "method": _method(plan)}
    about |= {name: value for name, value in (output if isinstance(output, Mapping) else {}).items() if _is_told(value)}
    about["plan"] = dump_yaml(plan).strip() if isinstance(plan, dict | list) else plan
    options = made.get("options")
    about |= options if isinstance(options, Mapping) else {}
    origin = {name: made[name] for name in ("plan", "inputs", "versions") if name in made}
    content: dict[str, Any] = {"seed": made.get("seed", 0), "details": {"merged": about}, "provenance": origin}
    return document("merge", content)


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_BYTES:
        raise BadData(f"larger than {MAX_BYTES:,} bytes", field=str(path), hint=DAMAGED)
    with machine_errors(path):
        content = path.read_bytes()
    try:
        made = json.loads(content.decode())
    except (ValueError, RecursionError) as fault:
        raise BadData(f"not JSON: {fault}", field=str(path), hint=DAMAGED) from None
    if not isinstance(made, dict) or not isinstance(made.get("seed", 0), int):
        raise BadData("not what a merge writes", field=str(path), hint=DAMAGED)
    return made


def _method(plan: Any) -> str:
    """The name of the outermost call of a plan."""
    return str(next(iter(plan))) if isinstance(plan, Mapping) and len(plan) == 1 else ""


def _is_told(value: Any) -> bool:
    return isinstance(value, str | int | float | list)
