"""Runs one statement over a database and prints its rows: a process of its own, ended from outside when time is over.

Neither SQLite nor DuckDB looks at a clock within one call of a function, and one call of `ltrim` or `list_sum` may take
days and all memory; a process can be ended then, and its memory is bounded. `tables` starts it. Standard library only.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote

STEPS = 2000
"""Steps of SQLite's machine between two looks at the clock."""
GRACE_S = 0.3
"""What SQLite has beyond its time to stop by itself, before the process is ended."""
MEMORY_BYTES = {"sqlite": 2 << 30, "duckdb": 4 << 30}
"""Addresses that the process may have."""
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
DECLARED = {(sqlite3.SQLITE_UPDATE, "sqlite_master"), (sqlite3.SQLITE_PRAGMA, "data_version")}
"""What SQLite asks for when it opens a table of its own making (`json_each`, full text); nothing is written by it."""
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1 << 24, sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 17, sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000, sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100, sqlite3.SQLITE_LIMIT_COLUMN: 1000,
}  # fmt: skip
DUCK_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
    "allow_community_extensions": "false", "allow_unsigned_extensions": "false", "python_enable_replacements": "false",
    "threads": "1", "memory_limit": "1GB", "temp_directory": "", "lock_configuration": "true",
}  # fmt: skip


def connected(path: Path) -> sqlite3.Connection:
    """A connection to SQLite that can only read. Raises sqlite3.Error.

    Where no log of unfinished writes lies beside the file it is opened as one that does not change, so that not even a
    lock is written.
    """
    fixed = "" if Path(f"{path}-wal").exists() or Path(f"{path}-journal").exists() else "&immutable=1"
    address = f"file:{quote(str(path.absolute()))}?mode=ro{fixed}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=True)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    for limit, most in LIMITS.items():
        connection.setlimit(limit, most)
    return connection


def duck_connected(path: Path) -> Any:
    """A connection to DuckDB that only reads, reaches nothing outside the file, and whose settings are locked."""
    import duckdb

    return duckdb.connect(str(path), read_only=True, config=DUCK_SETTINGS)


def reply_to(request: Mapping[str, Any]) -> dict[str, Any]:
    """`columns`, `rows` and whether they are `cut`; or a `fault`, and whether time was `over`."""
    if request["dialect"] == "duckdb":
        return _of_duckdb(request)
    end = monotonic() + request["timeout_s"]
    try:
        with closing(connected(Path(request["path"]))) as connection:
            connection.set_progress_handler(lambda: int(monotonic() > end), STEPS)
            forbid(connection, frozenset(request["functions"]))
            return _result(connection.execute(request["sql"]), request)
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError, MemoryError) as fault:
        return {"fault": str(fault) or type(fault).__name__, "over": monotonic() > end}


def forbid(connection: sqlite3.Connection, functions: frozenset[str]) -> None:
    """From now on nothing but reading, and only functions that are listed."""

    def allowed(action: int, one: str | None, two: str | None, database: str | None, inner: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_OK if (two or "").lower() in functions else sqlite3.SQLITE_DENY
        is_read = action in ALLOWED or (action, one) in DECLARED
        return sqlite3.SQLITE_OK if is_read else sqlite3.SQLITE_DENY

    connection.set_authorizer(allowed)


def _of_duckdb(request: Mapping[str, Any]) -> dict[str, Any]:
    import duckdb

    try:
        with closing(duck_connected(Path(request["path"]))) as connection:
            kinds = [one.type for one in connection.extract_statements(request["sql"])]
            if kinds != [duckdb.StatementType.SELECT]:
                return {"fault": "not authorized: is not one SELECT", "over": False}
            return _result(connection.execute(request["sql"]), request)
    except (duckdb.Error, RuntimeError, OverflowError, UnicodeError, MemoryError) as fault:
        return {"fault": (str(fault) or type(fault).__name__).splitlines()[0], "over": False}


def _result(cursor: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    names = [str(column[0]) for column in cursor.description or ()]
    rows, cut = _bounded(iter(cursor.fetchone, None), request["rows"], request["letters"])
    return {"columns": names, "rows": [[_plain(value) for value in row] for row in rows], "cut": cut}


def _bounded(cursor: Iterator[Sequence[Any]], most: int, letters: int) -> tuple[list[list[Any]], bool]:
    rows: list[list[Any]] = []
    left = letters
    for row in cursor:
        left -= sum(len(str(value)) for value in row) + 1
        if len(rows) == most or (left < 0 and rows):
            return rows, True
        rows.append([value[: letters // len(row)] if isinstance(value, str | bytes) else value for value in row])
    return rows, False


def _plain(value: Any) -> Any:
    """A value as JSON has it; bytes and decimals by name, whatever else that is no number as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return {"hex": bytes(value).hex()}
    return {"decimal": str(value)} if type(value).__name__ == "Decimal" else str(value)


def bound_process(dialect: str, timeout_s: float) -> None:
    """Bound this process' time and memory, where the system can (Windows cannot: `tables` ends it there)."""
    try:
        import resource
        import signal
    except ImportError:
        return
    with suppress(ValueError):  # macOS bounds no addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES[dialect],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, timeout_s + (GRACE_S if dialect == "sqlite" else 0.0))


def main() -> None:
    request = json.load(sys.stdin)
    if request["dialect"] == "duckdb":
        import duckdb  # noqa: F401  (takes long, and its time is not the statement's)
    bound_process(request["dialect"], request["timeout_s"])
    json.dump(reply_to(request), sys.stdout)


if __name__ == "__main__":
    main()
