"""A run folder that survives a kill: an append-only journal of what is done, and where the run came from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, ConsortError, OutputExists
from consort.core.files import check_place, machine_errors

HEADER = "run"


class Journal:
    """Lines of JSON in `folder/journal.jsonl`; each is synced before `append` returns.

    The first line names the run by `key` (a hash of plan, inputs and seed). Opened again with the same key it
    continues; with another key it is refused unless `force`. A torn last line (a kill in mid-write) is dropped. A line
    that is damaged otherwise, or whose record is not `sound`, is refused; with `force` the run then starts anew. Once
    open, `is_new` says that nothing had been recorded before.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        *,
        force: bool = False,
        sound: Callable[[Mapping[str, Any]], bool] = lambda record: True,
    ) -> None:
        self.folder, self.key, self.force, self.sound = folder, key, force, sound
        self.path = folder / "journal.jsonl"
        self.is_new = True

    def open(self) -> list[dict[str, Any]]:
        """Create or continue the run; the records written so far, in order.

        Raises OutputExists, BadData for a damaged line, BadParameter for a path that no folder can have.
        """
        check_place(self.folder)
        for path in (self.folder, self.path):
            if path.is_symlink():
                raise OutputExists("is a link", field=str(path), hint="name a folder that is none, or a new one")
        with machine_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lines = self._lines_or_none() if self.force else list(self._whole_lines())
        if lines and lines[0].get(HEADER) == self.key:
            self.is_new = len(lines) == 1
            return lines[1:]
        if any(self.folder.iterdir()) and not self.force:
            what = "holds another run" if lines else "is not empty"
            raise OutputExists(what, field=str(self.folder), hint="choose another folder or pass --force")
        with machine_errors(self.path):
            self.path.write_bytes(b"")
        self.append({HEADER: self.key})
        return []

    def append(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        with machine_errors(self.path), open(self.path, "ab") as file:
            file.write(line.encode())
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
            self.path.unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _whole_lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with machine_errors(self.path):
            data = self.path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                self.path.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            yield self._record(line, number)

    def _lines_or_none(self) -> list[dict[str, Any]]:
        try:
            return list(self._whole_lines())
        except BadData:
            return []

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not (HEADER in record if number == 1 else self.sound(record)):
            hint = "delete the file, or pass --force to start the run anew"
            raise BadData("is damaged", field=f"{self.path}:{number}", hint=hint)
        return record


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
