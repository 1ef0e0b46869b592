"""Scores of pairs that are computed once: in memory, and in a file where one is named."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData
from consort.core.files import machine_errors

Pair = tuple[str, str]
MOST = 1_000_000
"""Pairs that are kept in memory."""


class Kept:
    """Rows of three numbers by (model, premise, hypothesis). `file` is a database that outlives the run; "": none."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self._rows: dict[bytes, np.ndarray] = {}

    def scores(
        self, model: str, pairs: Sequence[Pair], read: Callable[[Sequence[Pair]], Float[np.ndarray, "pair 3"]]
    ) -> Float[np.ndarray, "pair 3"]:
        """The rows of all pairs; those that are not known are read, each once, in one call."""
        keys = [_key(model, pair) for pair in pairs]
        self._load(keys)
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._rows}
        if new:
            rows = dict(zip(new, read(list(new.values())), strict=True))
            if len(self._rows) + len(rows) > MOST:
                self._rows = {key: self._rows[key] for key in keys if key in self._rows}
            self._rows |= rows
            self._save(rows)
        return np.array([self._rows[key] for key in keys]).reshape(len(keys), 3)

    def _load(self, keys: Sequence[bytes]) -> None:
        wanted = [key for key in dict.fromkeys(keys) if key not in self._rows]
        if not (self.file and wanted and Path(self.file).exists()):
            return
        with self._opened() as database:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                marks = ",".join("?" * len(part))
                for key, row in database.execute(f"SELECT pair, row FROM scores WHERE pair IN ({marks})", part):
                    self._rows[bytes(key)] = np.frombuffer(row, "<f8")

    def _save(self, rows: dict[bytes, np.ndarray]) -> None:
        if self.file:
            with self._opened() as database:
                values = [(key, row.astype("<f8").tobytes()) for key, row in rows.items()]
                database.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", values)

    def _opened(self) -> _Database:
        return _Database(self.file)


class _Database:
    """An sqlite file within a block: committed and closed at its end."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __enter__(self) -> sqlite3.Connection:
        try:
            with machine_errors(self.file):
                Path(self.file).parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.file, timeout=30)
            self.connection.execute("CREATE TABLE IF NOT EXISTS scores (pair BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
        except sqlite3.Error as fault:
            raise BadData(f"is no cache of scores: {fault}", field=self.file, hint="name another file") from None
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self.connection.commit()
        finally:
            self.connection.close()


def _key(model: str, pair: Pair) -> bytes:
    text = "\0".join((model, str(len(pair[0])), *pair))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
