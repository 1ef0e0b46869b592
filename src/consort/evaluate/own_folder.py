"""The folder of a program that may be hostile: how full it is, and how it is removed, however deep it has become."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

MOST_FILES, MOST_BYTES = 256, 1 << 24
"""What a program may keep on disk."""
TRIES = 20
"""How often a folder that changes while it is measured is looked at before it counts as full."""


def is_full(folder: Path, process: int = 0, *, file_bytes: int = 1 << 20) -> bool:
    """Whether there are too many or too large files, removed ones that `process` still holds open among them.

    What cannot be measured (a path that is too long, a folder that may not be read, one that is always elsewhere)
    counts as full. `file_bytes` is the most that one file can have.
    """
    try:
        held = _held(process, file_bytes) if process else 0
    except OSError:
        return True
    for _ in range(TRIES):
        full = _measured(folder, held)
        if full is not None:
            return full
    return True


def _measured(folder: Path, size: int) -> bool | None:
    """None where a folder went away while it was measured."""
    waiting, files = [str(folder)], 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = _state(entry)
                    if found is None:
                        continue
                    files += 1
                    size += max(found.st_size, 512 * found.st_blocks)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(entry.path)
                    if files > MOST_FILES:
                        return True
        except FileNotFoundError:
            return None
        except OSError:
            return True
    return size > MOST_BYTES


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _held(process: int, file_bytes: int) -> int:
    """Bytes of files that have no name any more and are open or mapped; a mapped one counts as the largest."""
    size, about, gone = 0, Path(f"/proc/{process}"), set()
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended, or the system shows no processes
        for handle in os.listdir(about / "fd"):
            with suppress(FileNotFoundError):
                found = (about / "fd" / handle).stat()
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                    size += max(found.st_size, 512 * found.st_blocks)
        with open(about / "maps", encoding="utf-8", errors="replace") as maps:
            gone = {tuple(line.split()[3:5]) for line in maps if line.rstrip().endswith("(deleted)")}
    return size + file_bytes * len(gone)


def remove(folder: Path) -> None:
    """Remove a folder whose owner has ended. Each level is lifted to the top, so depth costs neither stack nor handles.

    Raises OSError.
    """
    mark, number = secrets.token_hex(8), 0
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while names := os.listdir(top):
            for name in names:
                if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=top)
                    continue
                os.chmod(name, 0o700, dir_fd=top)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                try:
                    for child in os.listdir(inner):
                        number += 1
                        os.rename(child, f"{mark}{number}", src_dir_fd=inner, dst_dir_fd=top)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(folder)
