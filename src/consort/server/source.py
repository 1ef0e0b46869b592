"""What the server is told to serve: `NAME=SOURCE`, or a source that names itself."""

from __future__ import annotations

import re
from pathlib import Path

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
"""The id of a model."""


def split_source(source: str) -> tuple[str, str]:
    """`NAME=SOURCE` as its parts; the name is "" where none is given."""
    name, mark, rest = source.partition("=")
    if mark and rest and ID.fullmatch(name) and not Path(source).exists() and ":" not in name:
        return name, rest
    return "", source
