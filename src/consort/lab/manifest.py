"""The SHA-256 of every shipped file, written when the zoo is built and checked by `consort lab verify`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consort.core.errors import BadCheckpoint
from consort.core.files import sha256_of, write_json

NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A file that is not what the manifest says: `problem` is "missing", "changed" or "unknown" (not listed)."""

    file: str
    problem: str


def hashes(zoo: Path) -> dict[str, str]:
    """The SHA-256 of every file under `zoo` but the manifest, by its path with slashes."""
    files = sorted(path for path in zoo.rglob("*") if path.is_file() and path != zoo / NAME)
    return {path.relative_to(zoo).as_posix(): sha256_of(path) for path in files}


def write_manifest(zoo: Path, seed: int) -> None:
    """Write the manifest of a zoo trained with `seed`."""
    write_json(zoo / NAME, {"version": 1, "seed": seed, "files": hashes(zoo)})


def read_seed(zoo: Path) -> int | None:
    """The seed of the zoo in this folder; None if there is no manifest that says so."""
    try:
        return int(json.loads((zoo / NAME).read_text(encoding="utf-8"))["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mismatches(zoo: Path) -> list[Mismatch]:
    """Every file of `zoo` that differs from its manifest; raises BadCheckpoint if the manifest cannot be read."""
    try:
        expected = json.loads((zoo / NAME).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "install consort again, or train the zoo anew: consort lab train"
        raise BadCheckpoint("no readable manifest", field=str(zoo / NAME), hint=hint) from error
    return _differences(expected, hashes(zoo))


def _differences(expected: Mapping[str, str], actual: Mapping[str, str]) -> list[Mismatch]:
    found = []
    for file in sorted(expected.keys() | actual.keys()):
        if file not in actual:
            found.append(Mismatch(file, "missing"))
        elif file not in expected:
            found.append(Mismatch(file, "unknown"))
        elif expected[file] != actual[file]:
            found.append(Mismatch(file, "changed"))
    return found
