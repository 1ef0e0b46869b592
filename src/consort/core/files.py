"""Files that are either whole or absent: written under a temporary name, synced, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consort.core.errors import EnvironmentFailure


@contextmanager
def machine_errors(path: Path | str) -> Iterator[None]:
    """Within the block, a full disk, missing permission or failing device becomes an EnvironmentFailure."""
    hints = {errno.ENOSPC: "free some space", errno.EFBIG: "raise the file size limit"}
    try:
        yield
    except OSError as error:
        hint = hints.get(error.errno or 0, "check the disk and its permissions")
        raise EnvironmentFailure(error.strerror or str(error), field=str(path), hint=hint) from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file: a reader sees the old content or the new, never a part."""
    data = content.encode() if isinstance(content, str) else content
    with machine_errors(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Atomic, indented, keys in the given order; NaN and infinity are refused (they are not JSON)."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sync_folder(path: Path) -> None:
    """Make renames inside `path` survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
