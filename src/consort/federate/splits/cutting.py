"""Files of rows cut into clients' files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, BadParameter
from consort.core.files import write_atomic
from consort.core.kinds import made
from consort.data.rows import parse_object, read_lines


def cut(
    path: Path, names: Sequence[str], split: str | Mapping[str, Any], folder: Path, *, label: str = "group", seed: int
) -> dict[str, Path]:
    """A file for each client in `folder`, of the rows that `split` gives it; `label` is the column of labels.

    Raises BadData for a file with fewer rows than clients, BadParameter for a split that needs labels that are not
    there.
    """
    lines = list(read_lines(path))
    if len(lines) < len(names):
        raise BadData(f"{len(lines)} rows for {len(names)} clients", field=str(path), hint="take fewer clients")
    labels = [parse_object(line, f"{path}:{number}").get(label) for number, line in lines]
    chosen = made("split", split, "split")
    if chosen.needs_labels and not any(value is not None for value in labels):
        hint = f"add a column {label!r}, name another one as `label`, or take the split iid"
        raise BadParameter("the rows have no labels", field="split", hint=hint)
    parts = chosen.parts([str(value) for value in labels], len(names), seed)
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, rows in zip(names, parts, strict=True):
        if not rows:
            raise BadData(f"the client {name} gets no rows", field="split", hint="take fewer clients, or another split")
        found[name] = folder / f"{name}.jsonl"
        write_atomic(found[name], b"".join(lines[row][1] + b"\n" for row in rows))
    return found
