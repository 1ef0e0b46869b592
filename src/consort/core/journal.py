"""A run folder that survives a kill: an append-only journal of what is done, and where the run came from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from consort.core.counted import counted
from consort.core.differing import named_differences, plain
from consort.core.errors import BadData, ConsortError, OutputExists
from consort.core.files import check_place, clear_torn, machine_errors, write_atomic
from consort.core.lock import FileLock, locked
from consort.core.progress import PROGRESS_FILE

_LOG = logging.getLogger("consort.journal")
JOURNAL_FILE = "journal.jsonl"
HEADER, ABOUT = "run", "about"
SUM = b', "sum": "'
"""What stands between a line's record and its checksum."""


class Journal:
    """Lines of JSON in `folder/journal.jsonl`, each with a checksum and synced before `append` returns.

    The first line names the run by `key` (a hash of plan, inputs and seed). Opened again with the same key it
    continues; with another key it is refused unless `force`. While it is open no other process may open it. A torn last
    line (a kill in mid-write) is dropped. So is a line that is damaged or changed, or whose record is not `sound`, with
    a warning: what it told is done again; where records are `ordered`, each after those before it, what follows too.
    Once open, `is_new` says that nothing had been recorded before. What a kill left of half-written files goes.

    `about` is what people want to know of the run (verb, task, models, ...); it stands in the first line, and another
    run's is compared with it where that is refused. Once open, `about` is what the first line says (`describe` changes
    it).
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        *,
        force: bool = False,
        sound: Callable[[Mapping[str, Any]], bool] = lambda record: True,
        ordered: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.key, self.force, self.sound, self.ordered = folder, key, force, sound, ordered
        self.about: dict[str, Any] = plain(about or {})
        self.path = folder / JOURNAL_FILE
        self.is_new = True
        self._lock: FileLock | None = None

    def open(self) -> list[dict[str, Any]]:
        """Create or continue the run; the records written so far, in order.

        Raises OutputExists, BadData where the first line is damaged, BadParameter for a path that no folder can have.
        """
        check_place(self.folder)
        for path in (self.folder, self.path):
            if path.is_symlink():
                raise OutputExists("is a link", field=str(path), hint="name a folder that is none, or a new one")
        with machine_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._lock = locked(self.path)
        lines = self._lines()
        run = self._run_of(lines[0]) if lines else None
        if run == self.key:
            clear_torn(self.folder)
            self.about = _about(lines[0])
            records = self._kept(lines)
            self.is_new = not records
            return records
        if any(run or path != self.path for path in self.folder.iterdir()) and not self.force:
            what = self._other(lines[0]) if lines else "is not empty"
            raise OutputExists(what, field=str(self.folder), hint="choose another folder or pass --force")
        with machine_errors(self.path):
            self.path.touch()
            self._lock = locked(self.path)
            self.path.write_bytes(b"")
        self.append(self._head())
        return []

    def describe(self, about: Mapping[str, Any]) -> None:
        """Say something else of the run in its first line; the records stay."""
        self.about = plain(about)
        with machine_errors(self.path):
            _, _, rest = self.path.read_bytes().partition(b"\n")
        write_atomic(self.path, written(self._head()) + rest)
        self._lock = locked(self.path)  # a new file

    def _head(self) -> dict[str, Any]:
        return {HEADER: self.key, **({ABOUT: self.about} if self.about else {})}

    def _other(self, line: bytes) -> str:
        """How another run differs from this one, as far as both say."""
        other = _about(line)
        found = named_differences(other, self.about) if other and self.about else ""
        return f"holds another run, which differs in {found}" if found else "holds another run"

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record at the end, so that it is there whatever happens next."""
        with machine_errors(self.path), open(self.path, "ab") as file:
            file.write(written(record))
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def discarded_if_refused(self) -> Iterator[None]:
        """Within the block, an error of the user's removes the run, unless an earlier start has done work in it."""
        try:
            yield
        except ConsortError:
            if self.is_new:
                self.discard()
            raise

    def discard(self) -> None:
        """Remove the run, and its folder if nothing else is in it."""
        with machine_errors(self.path):
            for path in (self.path, self.folder / PROGRESS_FILE):
                path.unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _lines(self) -> list[bytes]:
        """The whole lines; what a kill left of the last one is removed."""
        if not self.path.exists():
            return []
        with machine_errors(self.path):
            data = self.path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                self.path.write_bytes(whole)
        return whole.split(b"\n")[:-1]

    def _run_of(self, line: bytes) -> str | None:
        """Which run a journal is of, by its first line; None where that is damaged and `force` allows it."""
        record = read(line)
        if record is not None and isinstance(record.get(HEADER), str):
            return str(record[HEADER])
        if self.force:
            return None
        hint = "delete the file, or pass --force to start the run anew"
        raise BadData("is damaged", field=f"{self.path}:1", hint=hint)

    def _kept(self, lines: list[bytes]) -> list[dict[str, Any]]:
        """The records after the first line; the file is written again without the lines that cannot be used."""
        found = [read(line) for line in lines[1:]]
        wrong = [i for i, record in enumerate(found) if record is None or not self.sound(record)]
        if not wrong:
            return [record for record in found if record is not None]
        last = wrong[0] if self.ordered else len(found)
        kept = [i for i in range(last) if i not in set(wrong)]
        write_atomic(self.path, b"".join(lines[i] + b"\n" for i in (0, *(i + 1 for i in kept))))
        self._lock = locked(self.path)  # a new file
        places = ", ".join(str(i + 2) for i in wrong[:5]) + (", …" if len(wrong) > 5 else "")
        _LOG.warning(
            "%s:%s: damaged or changed; what %s told is done again",
            self.path,
            places,
            counted(len(found) - len(kept), "line"),
        )
        return [record for i in kept if (record := found[i]) is not None]


def peek(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the first line of a folder's journal says of the run, and the records that can be read; nothing is changed.

    Raises BadData where there is no journal, or its first line is damaged.
    """
    path = folder / JOURNAL_FILE
    if not path.is_file():
        raise BadData("is no run folder: no journal.jsonl", field=str(folder), hint="give the folder of a run")
    with machine_errors(path):
        lines = path.read_bytes().split(b"\n")[:-1]
    if not lines:
        return {}, []
    if read(lines[0]) is None:
        raise BadData("is damaged", field=f"{path}:1", hint="delete the file, or pass --force to start the run anew")
    return _about(lines[0]), [record for line in lines[1:] if (record := read(line)) is not None]


def _about(line: bytes) -> dict[str, Any]:
    found = (read(line) or {}).get(ABOUT)
    return found if isinstance(found, dict) else {}


def written(record: Mapping[str, Any]) -> bytes:
    """The line of a record: JSON, its last key the checksum of all that stands before it."""
    body = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()[:-1]
    return body + SUM + _checksum(body) + b'"}\n'


def read(line: bytes) -> dict[str, Any] | None:
    """The record that `written` made this line of (without its end); None for any other line."""
    body, _, end = line.rpartition(SUM)
    if end != _checksum(body) + b'"}':
        return None
    record: dict[str, Any] = json.loads(body + b"}")
    return record


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).hexdigest().encode()


def provenance(*, plan: Any, inputs: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """What a run's result depends on: plan, inputs (as `weights` describes them), seed, versions; no paths."""
    libraries = ("consort", "torch", "transformers", "safetensors", "numpy")
    return {
        "plan": plan,
        "inputs": list(inputs),
        "seed": seed,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in libraries},
    }


def key_of(value: Any) -> str:
    """A short stable name of a JSON value: 16 hexadecimal digits of its BLAKE2b."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
