"""References to tables: `table:FILE?scale=100&contaminated=drop#COLUMN`, or in a plan

    {table: FILE, column: COLUMN, scale: 100, contaminated: drop}

`scale` is the range of the scores: a number (from 0 to it), or LOW..HIGH (in a plan also [low, high]). `contaminated:
drop` leaves out the test rows whose prompt dev has too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from consort.core.errors import BadParameter, BadPlan, ConsortError, did_you_mean

PREFIX = "table:"
KEY = "table"
OPTIONS = ("scale", "contaminated")
CONTAMINATED = ("keep", "drop")
Scale = tuple[float, float]


def split_reference(reference: str) -> tuple[str, str]:
    """File, with its options, and column of `table:FILE#COLUMN`; the column is "" where none is named."""
    file, _, column = reference.removeprefix(PREFIX).partition("#")
    if not reference.startswith(PREFIX) or not split_file(file)[0]:
        raise BadParameter("names no table", field=reference, hint=f"{PREFIX}FILE#COLUMN")
    return file, column


def split_file(file: str) -> tuple[str, dict[str, Any]]:
    """Path and options of `FILE?scale=100`. A file that has the whole name is that. Raises BadParameter."""
    path, mark, query = file.rpartition("?")
    if not mark or Path(file).is_file():
        return file, {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise BadParameter("has options that cannot be read", field=file, hint=f"{path}?scale=100") from None
    return path, checked(dict(pairs))


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as `open_table` takes them. Raises BadParameter."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if key not in OPTIONS:
            raise BadParameter(f"a table has no option {key!r}", field=key, hint=did_you_mean(key, OPTIONS))
        if key == "contaminated" and value not in CONTAMINATED:
            raise BadParameter(f"{value!r} is not keep or drop", field=key, hint=" or ".join(CONTAMINATED))
        found[key] = scale_of(value) if key == "scale" else value
    return found


def scale_of(value: Any) -> Scale:
    """The range of scores that a number, `LOW..HIGH` or a pair stands for. Raises BadParameter."""
    ends = value.split("..") if isinstance(value, str) else value
    pair = list(ends) if isinstance(ends, list | tuple) else [ends]
    try:
        low, high = map(float, pair if len(pair) == 2 else [0.0, *pair])
    except (TypeError, ValueError):
        low = high = math.nan
    if isinstance(value, bool) or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadParameter(f"{value!r} is no range of scores", field="scale", hint="100, or -1..1")
    return low, high


def is_described(value: Any) -> bool:
    """Whether a plan's value is a mapping that describes a table."""
    return isinstance(value, Mapping) and KEY in value


def described(value: Mapping[str, Any], path: str) -> str:
    """The reference that a mapping `{table: FILE, column: …}` stands for. Raises BadPlan, BadParameter."""
    for key in (KEY, "column"):
        if not isinstance(value.get(key), str) or not value[key]:
            raise BadPlan("is not a string", field=f"{path}.{key}", hint="write {table: FILE, column: COLUMN}")
    try:
        options = checked({str(key): v for key, v in value.items() if key not in (KEY, "column")})
    except ConsortError as error:
        raise error.within(path) from None
    return f"{PREFIX}{value[KEY]}{query_of(options)}#{value['column']}"


def query_of(options: Mapping[str, Any]) -> str:
    """Options as they stand behind a file's name."""
    shown = []
    if "scale" in options:
        low, high = options["scale"]
        shown.append(f"scale={high:.15g}" if low == 0 else f"scale={low:.15g}..{high:.15g}")
    if options.get("contaminated", "keep") != "keep":
        shown.append(f"contaminated={options['contaminated']}")
    return f"?{'&'.join(shown)}" if shown else ""
