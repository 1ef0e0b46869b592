"""A folder that appears whole or not at all: filled beside its place, synced, renamed once, resumable after a kill."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from consort.core.errors import OutputExists
from consort.core.files import FOLDER, OWN, PLAIN, is_same, machine_errors, sync_folder, write_at
from consort.core.lock import take

JOURNAL = ".journal"


class Disk:
    """All that writing asks of the file system; a test replaces it to make the n-th operation fail."""

    def create(self, path: Path, nbytes: int) -> int:
        """A file of `nbytes`, open for reading and writing; what it holds already is kept. Returns its handle."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | OWN, 0o644)
        try:
            os.ftruncate(handle, nbytes)
        except OSError:
            os.close(handle)
            raise
        return handle

    def write_at(self, handle: int, data: memoryview, offset: int) -> None:
        """Write bytes at a place of a file."""
        write_at(handle, data, offset)

    def sync(self, handle: int) -> None:
        """Have what was written to a file reach the disk."""
        os.fsync(handle)

    def write_file(self, path: Path, data: bytes) -> None:
        """Write a whole file."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OWN, 0o644)
        try:
            self.write_at(handle, memoryview(data), 0)
            self.sync(handle)
        finally:
            os.close(handle)

    def sync_folder(self, path: Path) -> None:
        """Have the names in a folder reach the disk."""
        sync_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its name."""
        os.rename(old, new)

    def exchange(self, one: Path, other: Path) -> None:
        """Swap two folders; in one step where the system can (Linux)."""
        if not _renameat2(one, other):
            aside = other.with_name(other.name + ".replaced")
            os.rename(other, aside)
            os.rename(one, other)
            os.rename(aside, one)

    def unlink(self, path: Path) -> None:
        """Take a file away."""
        path.unlink()


class Partial:
    """The folder `<out>.partial-<key>`: what is written of `out` so far, held by one writer at a time.

    Leaving the `with` block by an error removes it; an interruption (Ctrl-C, a kill) leaves it to be resumed by a
    writer with the same `key`. A leftover of another key is removed.
    """

    def __init__(self, out: Path, key: str, disk: Disk) -> None:
        self.out, self.disk = out, disk
        self.path = out.with_name(f"{out.name}.partial-{key}")
        self._lock: int | None = None
        self._journal: int | None = None
        self._made: list[Path] = []
        self._journal_bytes = 0

    def __enter__(self) -> Partial:
        try:
            with machine_errors(self.out):
                self._make_parents()
                with _locked(self.out.parent):
                    self._clear_others()
                    self.path.mkdir(exist_ok=True)
                    self._lock = self._hold(self.path)
        except BaseException:
            self._remove_parents()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_journal()
        if self._lock is not None:
            os.close(self._lock)
        if kind is not None and issubclass(kind, Exception):
            shutil.rmtree(self.path, ignore_errors=True)
            self._remove_parents()

    def finished(self) -> dict[str, int]:
        """Tensors whose data is safe on disk, with their count of non-finite entries; starts the journal."""
        path = self.path / JOURNAL
        with machine_errors(path):
            data = path.read_bytes() if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            self._journal_bytes = len(whole)
            self._journal = self.disk.create(path, len(whole))
        records = [json.loads(line) for line in whole.splitlines()]
        return {name: count for record in records for name, count in record.items()}

    def start_anew(self) -> None:
        """Forget everything: the next `finished` is empty."""
        for entry in self.path.iterdir():
            entry.unlink()

    def record(self, counts: Mapping[str, int]) -> None:
        """Note tensors as finished; their data must be synced already."""
        if self._journal is not None and counts:
            line = (json.dumps(dict(counts)) + "\n").encode()
            with machine_errors(self.path / JOURNAL):
                self.disk.write_at(self._journal, memoryview(line), self._journal_bytes)
                self.disk.sync(self._journal)
            self._journal_bytes += len(line)

    def commit(self, keep: Iterable[str]) -> None:
        """Give the folder its name; it then holds the files `keep` and nothing else."""
        kept = set(keep)
        self._close_journal()  # Windows neither removes nor moves what is open
        with machine_errors(self.out):
            for entry in sorted(self.path.iterdir()):
                if entry.name not in kept:
                    self.disk.unlink(entry)
            self.disk.sync_folder(self.path)
            if self.out.exists() and any(self.out.iterdir()):
                self.disk.exchange(self.path, self.out)
                shutil.rmtree(self.path, ignore_errors=True)
            else:
                if FOLDER is None and self.out.exists():
                    self.out.rmdir()  # Windows renames onto nothing, not even an empty folder
                self.disk.rename(self.path, self.out)
            self._made = []
            self.disk.sync_folder(self.out.parent)

    def _clear_others(self) -> None:
        prefix = f"{self.out.name}.partial-"
        for entry in sorted(self.out.parent.iterdir()):
            leftover = entry.name.startswith(prefix) and entry.is_dir() and not entry.is_symlink()
            if leftover and entry != self.path:
                handle = self._hold(entry)
                shutil.rmtree(entry)
                if handle is not None:
                    os.close(handle)

    def _hold(self, path: Path) -> int | None:
        """A handle that keeps other writers away until it is closed; None where folders cannot be opened."""
        if FOLDER is None:
            return None
        handle = os.open(path, os.O_RDONLY | FOLDER | OWN)
        if not take(handle):
            os.close(handle)
            hint = "wait for it to end, or choose another output"
            raise OutputExists(f"another run is writing it ({path.name})", field=str(self.out), hint=hint)
        return handle

    def _close_journal(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def _make_parents(self) -> None:
        parent = self.out.parent
        self._made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        parent.mkdir(parents=True, exist_ok=True)

    def _remove_parents(self) -> None:
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()


def check_target(out: Path, sources: Iterable[Path], *, force: bool) -> None:
    """Refuse an output that holds something (unless `force`), is no folder, or is, holds or lies in a source."""
    with machine_errors(out):
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            raise OutputExists("is no folder", field=str(out), hint="name a new folder")
        place, full = out.resolve(), out.exists() and any(out.iterdir())
    for source in map(Path.resolve, sources):
        if lies_in(place, source) or lies_in(source, place):
            raise OutputExists(f"overlaps the input {source.name}", field=str(out), hint="name another folder")
    if full and not force:
        hint = "choose another folder, or pass --force (force=True) to replace it"
        raise OutputExists("is not empty", field=str(out), hint=hint)


def lies_in(path: Path, folder: Path) -> bool:
    """Whether an absolute path is a folder or lies in it, by whatever names (a Mac does not tell A from a)."""
    return any(above == folder or is_same(above, folder) for above in (path, *path.parents))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Writers of one parent folder start one after the other, so that each sees what the others hold."""
    if FOLDER is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY | FOLDER | PLAIN)
    try:
        take(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _renameat2(one: Path, other: Path) -> bool:
    """Linux' exchange of two names; False where the system or file system has none."""
    if sys.platform != "linux":
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(other))
