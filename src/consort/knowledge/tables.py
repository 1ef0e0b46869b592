"""Tables at rest: a database of SQLite, or of DuckDB with the extra `sql`, that is only ever read.

A statement passes four layers: it is parsed, and must be one SELECT (`sql_guard`); its rows and letters are bounded;
the connection reads only, and an authorizer is asked about every step and every function; a clock stops what takes too
long.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Annotated, Any
from urllib.parse import quote

from consort.core.errors import BadData, BadParameter, MissingExtra
from consort.core.params import Range
from consort.knowledge import sql_guard
from consort.knowledge.sql_rows import Rows

MAGIC = b"SQLite format 3\0"
DUCK = b"DUCK"
STEPS = 2000
"""Steps of SQLite's machine between two looks at the clock."""
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1 << 24, sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 17, sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000, sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100, sqlite3.SQLITE_LIMIT_COLUMN: 1000,
}  # fmt: skip


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
        """The rows of a statement. Raises BadData where it is refused, fails, or takes too long; nothing is changed."""
        asked = sql_guard.limited(sql_guard.checked(sql, self.dialect), self.rows)
        return self._sqlite(asked, sql) if self.dialect == "sqlite" else self._duckdb(asked, sql)

    def _sqlite(self, asked: str, sql: str) -> Rows:
        with closing(connected(self.path)) as connection, _clock(connection, self.timeout_s) as is_over:
            _forbid(connection)
            try:
                cursor = connection.execute(asked)
                names = tuple(str(column[0]) for column in cursor.description or ())
                return self._read(names, iter(cursor), sql)
            except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as fault:
                raise _failure(str(fault), is_over(), self.timeout_s) from None

    def _duckdb(self, asked: str, sql: str) -> Rows:
        duckdb = _duckdb_module()
        with closing(_duck_connection(self.path)) as connection:
            over = threading.Event()

            def stop() -> None:
                over.set()
                connection.interrupt()

            clock = threading.Timer(self.timeout_s, stop)
            clock.start()
            try:
                kinds = [one.type for one in connection.extract_statements(asked)]
                if kinds != [duckdb.StatementType.SELECT]:
                    raise sql_guard.refusal("is not one SELECT")
                cursor = connection.execute(asked)
                names = tuple(str(column[0]) for column in cursor.description or ())
                return self._read(names, iter(cursor.fetchone, None), sql)
            except (duckdb.Error, RuntimeError, OverflowError, UnicodeError) as fault:
                raise _failure(str(fault).splitlines()[0], over.is_set(), self.timeout_s) from None
            finally:
                clock.cancel()

    def _read(self, names: tuple[str, ...], cursor: Iterator[Sequence[Any]], sql: str) -> Rows:
        rows: list[tuple[Any, ...]] = []
        left = self.letters
        for row in cursor:
            left -= sum(len(str(value)) for value in row) + 1
            if len(rows) == self.rows or (left < 0 and rows):
                return Rows(names, tuple(rows), True, sql)
            rows.append(tuple(_short(value, self.letters // len(row)) for value in row))
        return Rows(names, tuple(rows), False, sql)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The tables of the database, by name, three rows of each."""
        if self.dialect == "duckdb":
            return tuple(_duck_tables(self.path))
        with closing(connected(self.path)) as connection:
            try:
                return tuple(_sqlite_tables(connection))
            except sqlite3.Error as fault:
                raise BadParameter(f"cannot be read: {fault}", field=str(self.path), hint="mend the database") from None


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


def connected(path: Path) -> sqlite3.Connection:
    """A connection that can only read.

    Where no log of unfinished writes lies beside the file it is opened as one that does not change, so that not even a
    lock is written.
    """
    fixed = "" if Path(f"{path}-wal").exists() or Path(f"{path}-journal").exists() else "&immutable=1"
    address = f"file:{quote(str(path.absolute()))}?mode=ro{fixed}"
    try:
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=True)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error as fault:
        raise BadParameter(f"cannot be opened: {fault}", field=str(path), hint="a database of SQLite") from None
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    for limit, most in LIMITS.items():
        connection.setlimit(limit, most)
    return connection


def _forbid(connection: sqlite3.Connection) -> None:
    """From now on nothing but reading, and only functions that are listed."""

    def allowed(action: int, one: str | None, two: str | None, database: str | None, inner: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_OK if (two or "").lower() in sql_guard.FUNCTIONS else sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY

    connection.set_authorizer(allowed)


@contextmanager
def _clock(connection: sqlite3.Connection, timeout_s: float) -> Iterator[Callable[[], bool]]:
    """Within the block a statement is stopped after `timeout_s`; the function yielded says whether it was."""
    end = monotonic() + timeout_s
    connection.set_progress_handler(lambda: int(monotonic() > end), STEPS)
    yield lambda: monotonic() > end


def _failure(fault: str, over: bool, timeout_s: float) -> BadData:
    if over:
        return BadData(f"took longer than {timeout_s:g} s", field="sql", hint="ask for less")
    if "not authorized" in fault or "authoriz" in fault or "prohibited" in fault:
        return sql_guard.refusal(fault)
    return BadData(f"failed: {fault[:300]}", field="sql", hint="mend the statement")


def _short(value: Any, letters: int) -> Any:
    return value[:letters] if isinstance(value, str | bytes) else value


def quoted(name: str) -> str:
    """A name of the schema inside a statement."""
    return '"' + name.replace('"', '""') + '"'


def _sqlite_tables(connection: sqlite3.Connection) -> Iterator[Table]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name").fetchall()
    for (name,) in rows:
        if name.startswith("sqlite_"):
            continue
        keys = {
            row[3]: (row[2], row[4] or "") for row in connection.execute(f"PRAGMA foreign_key_list({quoted(name)})")
        }
        info = connection.execute(f"PRAGMA table_info({quoted(name)})").fetchall()
        columns = tuple(Column(row[1], row[2] or "", bool(row[5]), keys.get(row[1])) for row in info)
        try:
            some = connection.execute(f"SELECT * FROM {quoted(name)} LIMIT 3").fetchall()
        except sqlite3.Error:  # a view whose tables are gone has no rows to show
            some = []
        yield Table(name, columns, tuple(map(tuple, some)))


def _duckdb_module() -> Any:
    if find_spec("duckdb") is None:
        raise MissingExtra("files of DuckDB need duckdb", field="sql", hint="pip install 'consort[sql]'")
    from importlib import import_module

    return import_module("duckdb")


def _duck_connection(path: Path) -> Any:
    """A connection that can only read, reaches nothing outside the file, and whose settings cannot be changed."""
    duckdb = _duckdb_module()
    settings = {
        "enable_external_access": "false", "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false", "allow_unsigned_extensions": "false", "threads": "1",
        "memory_limit": "1GB", "lock_configuration": "true",
    }  # fmt: skip
    try:
        return duckdb.connect(str(path), read_only=True, config=settings)
    except duckdb.Error as fault:
        what = f"cannot be opened: {str(fault).splitlines()[0]}"
        raise BadParameter(what, field=str(path), hint="a database of DuckDB") from None


def _duck_tables(path: Path) -> Iterator[Table]:
    with closing(_duck_connection(path)) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'main' ORDER BY table_name, ordinal_position"
        ).fetchall()
        for name in dict.fromkeys(row[0] for row in found):
            columns = tuple(Column(row[1], row[2]) for row in found if row[0] == name)
            some = connection.execute(f"SELECT * FROM {quoted(name)} LIMIT 3").fetchall()
            yield Table(name, columns, tuple(map(tuple, some)))
