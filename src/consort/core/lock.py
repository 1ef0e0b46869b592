"""A folder that one process works in at a time. Nothing is written for it, and a killed process leaves no lock."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from weakref import WeakValueDictionary

from consort.core.errors import OutputExists
from consort.core.files import machine_errors

WITHOUT_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that have no such locks; there two processes are not told apart."""


class FolderLock:
    """The lock of a folder, held as long as this object is; other processes are refused until then."""

    def __init__(self, folder: Path) -> None:
        """Raises OutputExists where another process holds it."""
        self._descriptor = -1
        with machine_errors(folder):
            self._descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                hint = "wait until it has ended, or choose another folder"
                raise OutputExists("another process is working in it", field=str(folder), hint=hint) from None
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


_held: WeakValueDictionary[tuple[int, int], FolderLock] = WeakValueDictionary()


def locked(folder: Path) -> FolderLock:
    """The lock of an existing folder; this process may hold it several times. Raises OutputExists."""
    with machine_errors(folder):
        status = os.stat(folder)
    key = (status.st_dev, status.st_ino)
    lock = _held.get(key)
    if lock is None:
        lock = _held[key] = FolderLock(folder)
    return lock
