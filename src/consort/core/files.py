"""Files that are either whole or absent: written under a temporary name, synced, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from consort.core.errors import BadData, BadParameter, ConsortError, EnvironmentFailure

MISTAKES = {
    errno.EEXIST: "a file of this name, or of a folder above it, is in the way; name another",
    errno.EISDIR: "this is a folder; name a file",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOENT: "the folder above does not exist or takes no new entries; make it or name another",
    errno.ENOTDIR: "a part of this path is a file, not a folder; name another",
}
"""What the system says of a path that cannot be meant, and how to mend it."""
TORN = ".torn"
"""How temporary names end: a kill in the middle of a write leaves one."""
TORN_BY_OTHERS = ".tmp" + "[A-Za-z0-9]" * 6
"""The temporary files of safetensors, which writes beside its file and renames."""
PARTIAL_BYTES = 32
"""How much longer than an output's own name the temporary name beside it may be."""
NAME_BYTES = 255
"""The longest name of a file, where the system does not say it."""
PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""How files are opened: no child process has them, no byte is translated; where the system would."""
OWN = PLAIN | getattr(os, "O_NOFOLLOW", 0)
"""The same for files of our own making, which are no links."""
FOLDER = getattr(os, "O_DIRECTORY", None)
"""How folders are opened; None where they cannot be (Windows)."""
MOST_AT_ONCE = 1 << 30
"""Bytes given to one call: macOS takes less than 2 GiB."""
_seeking = threading.Lock()


@contextmanager
def machine_errors(path: Path | str) -> Iterator[None]:
    """Within the block, a full disk, missing permission or failing device becomes an EnvironmentFailure.

    A path that cannot be meant (one that goes through a file, too long a name) becomes a BadParameter.
    """
    hints = {errno.ENOSPC: "free some space", errno.EFBIG: "raise the file size limit"}
    try:
        yield
    except OSError as error:
        if error.errno in MISTAKES:
            what = (error.strerror or str(error)).lower()
            raise BadParameter(what, field=str(path), hint=MISTAKES[error.errno]) from error
        hint = hints.get(error.errno or 0, "check the disk and its permissions")
        raise EnvironmentFailure(error.strerror or str(error), field=str(path), hint=hint) from error


def check_place(out: Path | str) -> None:
    """Refuse a path that no output can have, before anything is made there: BadParameter, EnvironmentFailure."""
    if not str(out):
        raise BadParameter("the path is empty", field="out", hint="name a folder; `.` is the current one")
    path = Path(os.path.abspath(out))
    with machine_errors(out):
        above = next((folder for folder in path.parents if os.path.lexists(folder)), path)
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        longest = (os.pathconf(above, "PC_NAME_MAX") if hasattr(os, "pathconf") else NAME_BYTES) - PARTIAL_BYTES
        if any(len(os.fsencode(part)) > longest for part in path.relative_to(above).parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        if not path.exists() and not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def read_stdin(field: str, error: type[ConsortError] = BadData) -> str:
    """All of standard input, which must be UTF-8."""
    try:
        text = sys.stdin.read()
        text.encode()
    except UnicodeError:
        raise error("is not UTF-8 text", field=field, hint="give UTF-8 on standard input") from None
    return text


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Within the block, write the file's content; a reader sees the old content or all of the new, never a part."""
    with machine_errors(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TORN)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def clear_torn(folder: Path) -> None:
    """Remove what a kill in the middle of a write left in a folder and those in it."""
    with machine_errors(folder):
        for file in (*folder.rglob(f".*{TORN}"), *folder.rglob(TORN_BY_OTHERS)):
            if file.is_file():
                file.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file: a reader sees the old content or the new, never a part."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Atomic, indented, keys in the given order; NaN and infinity are refused (they are not JSON).

    A list without objects stands on one line: thousands of numbers are read by programs, not by people.
    """
    write_atomic(path, _laid_out(value, "\n") + "\n")


def _laid_out(value: Any, newline: str) -> str:
    """JSON text of `value`; `newline` is a line break with the indentation of the value's own line."""
    inner = newline + "  "
    if isinstance(value, Mapping) and value:
        pairs = (f"{_plain(str(key))}: {_laid_out(item, inner)}" for key, item in value.items())
        return "{" + inner + f",{inner}".join(pairs) + newline + "}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return "[" + inner + f",{inner}".join(_laid_out(item, inner) for item in value) + newline + "]"
    return _plain(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_at(handle: int, into: memoryview, offset: int) -> int:
    """Bytes of a file from `offset` on into a buffer, from any thread; how many it were."""
    into = into[:MOST_AT_ONCE]
    if hasattr(os, "preadv"):
        return os.preadv(handle, [into], offset)
    with _seeking:
        os.lseek(handle, offset, os.SEEK_SET)
        data = os.read(handle, len(into))
    into[: len(data)] = data
    return len(data)


def write_at(handle: int, data: memoryview, offset: int) -> None:
    """Write bytes at a place of a file, from any thread."""
    done = 0
    while done < len(data):
        piece = data[done : done + MOST_AT_ONCE]
        if hasattr(os, "pwrite"):
            done += os.pwrite(handle, piece, offset + done)
        else:
            with _seeking:
                os.lseek(handle, offset + done, os.SEEK_SET)
                done += os.write(handle, piece)


def is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one existing file or folder, be it by case, a link, or another mount."""
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:  # one is not there, or cannot be
        return False


def sync_folder(path: Path) -> None:
    """Make renames inside `path` survive a power loss, where folders can be opened."""
    if FOLDER is None:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
