"""Tables at rest: a database of SQLite, or of DuckDB with the extra `sql`, that is only ever read.

A statement passes four layers: it is parsed, and must be one SELECT (`sql_guard`); its rows and letters are bounded; it
is run by a process of its own (`sql_reader`) over a connection that reads only, where SQLite asks an authorizer about
every step and every function; that process is ended when its time or memory is over.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from consort.core.errors import BadData, BadParameter, MissingExtra
from consort.core.files import machine_errors
from consort.core.params import Range
from consort.knowledge import sql_guard, sql_reader
from consort.knowledge.sql_rows import Rows

MAGIC = b"SQLite format 3\0"
DUCK = b"DUCK"
START_S = 60.0
"""What a process may take to begin, beyond the time of the statement."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the schema declares it; `refers` is the table and column that it points to, if any."""

    name: str
    type: str = ""
    key: bool = False
    refers: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its columns and some of its rows."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...] = ()


class Tables:
    """A database file. A query returns at most `rows` rows and `letters` letters, and runs at most `timeout_s` seconds.

    Raises BadParameter for what is no database, MissingExtra for DuckDB where it is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rows: Annotated[int, Range(1, 1000000)] = 200,
        letters: int = 65536,
        timeout_s: Annotated[float, Range(0.01, 3600)] = 5.0,
    ) -> None:
        self.path, self.rows, self.letters, self.timeout_s = Path(path), rows, letters, timeout_s
        self.dialect = dialect_of(self.path)

    def run(self, sql: str) -> Rows:
        """The rows of a statement; dates and the like are text.

        Raises BadData where it is refused, fails, or takes too long; nothing is changed.
        """
        if self.dialect == "duckdb":
            _duckdb_module()
        return self._run(sql_guard.limited(sql_guard.checked(sql, self.dialect), self.rows), sql)

    def _run(self, asked: str, sql: str) -> Rows:
        request = {
            "dialect": self.dialect, "path": str(self.path.absolute()), "sql": asked, "rows": self.rows,
            "letters": self.letters, "timeout_s": self.timeout_s, "functions": sorted(sql_guard.FUNCTIONS),
        }  # fmt: skip
        reply = answered(request)
        if "fault" in reply:
            raise _failure(reply["fault"], reply["over"], self.timeout_s)
        rows = tuple(tuple(map(_value, row)) for row in reply["rows"])
        return Rows(tuple(reply["columns"]), rows, reply["cut"], sql)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The tables of the database, by name, three rows of each; of a view that cannot be read none."""
        try:
            if self.dialect == "duckdb":
                return tuple(_duck_tables(self.path, self._sample))
            with closing(sql_reader.connected(self.path)) as connection:
                return tuple(_sqlite_tables(connection, self._sample))
        except _errors() as fault:
            what = f"cannot be read: {str(fault).splitlines()[0]}"
            raise BadParameter(what, field=str(self.path), hint="mend the database") from None

    def _sample(self, view: str) -> tuple[tuple[Any, ...], ...]:
        """Three rows of a view, which may hold any statement and is run as one."""
        asked = f"SELECT * FROM {quoted(view)} LIMIT 3"
        try:
            return self._run(asked, asked).rows
        except BadData:
            return ()


Sample = Callable[[str], tuple[tuple[Any, ...], ...]]


def dialect_of(path: Path) -> str:
    """sqlite or duckdb, by the file's first bytes. Raises BadParameter, MissingExtra."""
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError as fault:
        what = "does not exist" if not path.exists() else (fault.strerror or str(fault)).lower()
        raise BadParameter(what, field=str(path), hint="a file of SQLite or DuckDB") from None
    if head.startswith(MAGIC):
        return "sqlite"
    if head[8:12] == DUCK:
        _duckdb_module()
        return "duckdb"
    hint = "a file of SQLite or DuckDB; a dump becomes one by `consort index DUMP.sql OUT.sqlite --kind sql`"
    raise BadParameter("is no database", field=str(path), hint=hint)


def answered(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a process of its own replies to a request (`sql_reader`); it is ended where time or memory is over.

    It sees nothing of this process' environment but where packages are found.
    """
    places = os.pathsep.join(place for place in sys.path if place)
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT") if name in os.environ}
    try:
        with machine_errors(sys.executable):
            done = subprocess.run(
                [sys.executable, "-P", "-S", sql_reader.__file__], input=json.dumps(request).encode(),
                capture_output=True, env={**kept, "PYTHONPATH": places}, timeout=request["timeout_s"] + START_S,
                check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"fault": "", "over": True}
    if done.returncode == 0:
        reply: dict[str, Any] = json.loads(done.stdout)
        return reply
    if done.returncode == -getattr(signal, "SIGALRM", 0):
        return {"fault": "", "over": True}
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return {"fault": f"the process that read ended ({said[-1] if said else done.returncode})", "over": False}


def _value(value: Any) -> Any:
    """A value of a reply as it was."""
    if not isinstance(value, dict):
        return value
    return bytes.fromhex(value["hex"]) if "hex" in value else Decimal(value["decimal"])


def _failure(fault: str, over: bool, timeout_s: float) -> BadData:
    if over:
        return BadData(f"took longer than {timeout_s:g} s", field="sql", hint="ask for less")
    if "not authorized" in fault or "authoriz" in fault or "prohibited" in fault:
        return sql_guard.refusal(fault)
    return BadData(f"failed: {fault[:300]}", field="sql", hint="mend the statement")


def quoted(name: str) -> str:
    """A name of the schema inside a statement."""
    return '"' + name.replace('"', '""') + '"'


def _sqlite_tables(connection: sqlite3.Connection, sample: Sample) -> Iterator[Table]:
    found = "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
    for name, kind in connection.execute(found).fetchall():
        if name.startswith("sqlite_"):
            continue
        keys = {
            row[3]: (row[2], row[4] or "") for row in connection.execute(f"PRAGMA foreign_key_list({quoted(name)})")
        }
        try:
            info = connection.execute(f"PRAGMA table_info({quoted(name)})").fetchall()
        except sqlite3.Error:  # a view whose tables are gone has no columns to show
            info = []
        columns = tuple(Column(row[1], row[2] or "", bool(row[5]), keys.get(row[1])) for row in info)
        some = () if kind == "view" else connection.execute(f"SELECT * FROM {quoted(name)} LIMIT 3").fetchall()
        yield Table(name, columns, sample(name) if kind == "view" else tuple(map(tuple, some)))


def _duckdb_module() -> Any:
    if find_spec("duckdb") is None:
        raise MissingExtra("files of DuckDB need duckdb", field="sql", hint="pip install 'consort[sql]'")
    from importlib import import_module

    return import_module("duckdb")


def _errors() -> tuple[type[Exception], ...]:
    """What databases raise, as far as they are installed."""
    return (sqlite3.Error,) if find_spec("duckdb") is None else (sqlite3.Error, _duckdb_module().Error)


def _duck_tables(path: Path, sample: Sample) -> Iterator[Table]:
    with closing(sql_reader.duck_connected(path)) as connection:
        found = connection.execute(
            "SELECT c.table_name, c.column_name, c.data_type, t.table_type FROM information_schema.columns AS c "
            "JOIN information_schema.tables AS t USING (table_catalog, table_schema, table_name) "
            "WHERE table_schema = 'main' ORDER BY c.table_name, c.ordinal_position"
        ).fetchall()
        for name, kind in dict.fromkeys((row[0], row[3]) for row in found):
            columns = tuple(Column(row[1], row[2]) for row in found if row[0] == name)
            if kind == "VIEW":
                yield Table(name, columns, sample(name))
                continue
            some = connection.execute(f"SELECT * FROM {quoted(name)} LIMIT 3").fetchall()
            yield Table(name, columns, tuple(map(tuple, some)))
