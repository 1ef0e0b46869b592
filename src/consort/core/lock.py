"""A file that one process works on at a time. Nothing is written for it, and a killed process leaves no lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from weakref import WeakValueDictionary

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from consort.core.errors import OutputExists
from consort.core.files import machine_errors

WITHOUT_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that have no such locks; there, and on Windows, two processes are not told apart."""
HAS_LOCKS = fcntl is not None


def take(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed; False where another process holds it.

    Where there are no such locks nothing is locked and the answer is True. Raises OSError.
    """
    if fcntl is None:
        return True
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    return True


class FileLock:
    """The lock of a file, held as long as this object is; other processes are refused until then."""

    def __init__(self, file: Path) -> None:
        """Raises OutputExists where another process holds it."""
        self._descriptor = -1
        if not HAS_LOCKS:  # an open file could not be replaced there
            return
        with machine_errors(file):
            self._descriptor = os.open(file, os.O_RDWR)
            if not take(self._descriptor):
                raise _in_use(file)
            if _identity(os.fstat(self._descriptor)) != _identity(os.stat(file)):
                raise _in_use(file)  # it was replaced between the two steps

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


_held: WeakValueDictionary[tuple[int, int], FileLock] = WeakValueDictionary()


def locked(file: Path) -> FileLock:
    """The lock of an existing file; this process may hold it several times. Raises OutputExists."""
    with machine_errors(file):
        key = _identity(os.stat(file))
    lock = _held.get(key)
    if lock is None:
        lock = _held[key] = FileLock(file)
    return lock


def is_locked(file: Path) -> bool:
    """Whether a process, this one too, works on an existing file now; False where there are no such locks."""
    with machine_errors(file):
        descriptor = os.open(file, os.O_RDONLY)
    try:
        return not take(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _in_use(file: Path) -> OutputExists:
    hint = "wait until it has ended, or choose another folder"
    return OutputExists("another process is working in it", field=str(file.parent), hint=hint)
