"""Dumps of databases (PostgreSQL, MySQL, SQLite) and CSV files as a database of SQLite, which can then be asked.

A dump is read, not run: its tables are made and its values are worked out here, so a dump can do nothing else. Names of
schemas are left out of names of tables.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consort.core.counted import counted
from consort.core.errors import BadData, BadParameter, MissingExtra, OutputExists
from consort.core.files import check_place, machine_errors
from consort.knowledge.sql_csv import load_csv
from consort.knowledge.tables import quoted

_LOG = logging.getLogger(__name__)
_TYPE = re.compile(r"[A-Za-z_ ]*(?:\(\d+(?:, ?\d+)?\))?")
MOST_BYTES = 1 << 28
"""The most of a dump, which is read whole."""
UNITS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "day": 86400, "week": 604800}


def build_tables(sources: Sequence[Path | str], out: Path | str, *, force: bool = False, now: str = "") -> Path:
    """Write the tables of dumps (`.sql`) and of CSV files, a table each, into the file `out`, which is returned.

    `now` (ISO 8601) stands for the present in a dump that reckons from it; by default it is the present. Raises
    BadParameter, BadData, OutputExists, MissingExtra; nothing is left then.
    """
    place, files = Path(out), [Path(source) for source in sources]
    check_place(place)
    if place.exists() and not force:
        raise OutputExists("exists", field=str(place), hint="choose another file or pass --force")
    for file in files:
        if not file.is_file() or file.suffix.lower() not in (".sql", ".csv"):
            raise BadParameter("is no dump and no table", field=str(file), hint="a file that ends in .sql or .csv")
    try:
        present = datetime.fromisoformat(now) if now else datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    except ValueError:
        raise BadParameter(f"{now!r} is no time", field="now", hint="write 2024-05-31T12:00:00") from None
    with machine_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        os.close(handle)
    try:
        with closing(sqlite3.connect(made, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            for file in files:
                load = _load_dump if file.suffix.lower() == ".sql" else load_csv
                load(file, connection, present)
            connection.execute("COMMIT")
            connection.execute("VACUUM")
        os.chmod(made, 0o644)
        os.replace(made, place)
    except sqlite3.Error as fault:
        raise BadData(
            f"cannot be loaded: {fault}", field=", ".join(f.name for f in files), hint="mend the dump"
        ) from None
    finally:
        Path(made).unlink(missing_ok=True)
    return place


def _load_dump(file: Path, connection: sqlite3.Connection, present: datetime) -> None:
    if find_spec("sqlglot") is None:
        raise MissingExtra("dumps need sqlglot", field=str(file), hint="pip install 'consort[sql]'")
    if file.stat().st_size > MOST_BYTES:
        raise BadData(f"has more than {MOST_BYTES >> 20} MiB", field=str(file), hint="load it with its own program")
    from sqlglot import expressions as kinds

    left: list[str] = []
    for statement in _statements(file):
        if isinstance(statement, kinds.Create) and statement.kind == "TABLE":
            connection.execute(_create(statement, file))
        elif isinstance(statement, kinds.Insert):
            _insert(statement, connection, present, file)
        else:
            left.append(type(statement).__name__.upper())
    if left:
        what = ", ".join(dict.fromkeys(left))
        _LOG.warning("%s: %s left out: %s", file, counted(len(left), "statement"), what)


def _statements(file: Path) -> Iterator[Any]:
    import sqlglot
    from sqlglot.errors import SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        text = file.read_text("utf-8")
        for dialect in ("postgres", "mysql", "sqlite"):
            try:
                yield from (one for one in sqlglot.parse(text, read=dialect) if one is not None)
                return
            except SqlglotError as fault:
                last = fault
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadData("is no dump of SQL", field=str(file), hint="a dump as text, in UTF-8") from error
    raise BadData("is no dump of SQL", field=str(file), hint="tables and their rows, as pg_dump writes them") from last


def _create(statement: Any, file: Path) -> str:
    """The statement that makes a table: names, types and keys alone."""
    from sqlglot import expressions as kinds

    schema = statement.this
    if not isinstance(schema, kinds.Schema):
        raise BadData("makes a table of a query", field=str(file), hint="a dump has columns and rows")
    lines: list[str] = []
    keys: list[str] = []
    for part in schema.expressions:
        if isinstance(part, kinds.ColumnDef):
            lines.append(_column(part, keys))
        elif isinstance(part, kinds.PrimaryKey):
            keys += [one.name for one in part.expressions]
    if keys:
        lines.append(f"PRIMARY KEY ({', '.join(map(quoted, dict.fromkeys(keys)))})")
    return f"CREATE TABLE {quoted(schema.this.name)} ({', '.join(lines)})"


def _column(part: Any, keys: list[str]) -> str:
    from sqlglot import expressions as kinds

    kind = part.args.get("kind")
    type_ = kind.sql("sqlite") if kind else ""
    line = f"{quoted(part.name)} {type_ if _TYPE.fullmatch(type_) else 'TEXT'}".rstrip()
    for constraint in part.constraints:
        if isinstance(constraint.kind, kinds.PrimaryKeyColumnConstraint):
            keys.append(part.name)
        if isinstance(constraint.kind, kinds.Reference):
            other = constraint.kind.this
            table = other.this.name if isinstance(other, kinds.Schema) else other.name
            columns = [one.name for one in other.expressions] if isinstance(other, kinds.Schema) else []
            line += f" REFERENCES {quoted(table)}" + (f" ({quoted(columns[0])})" if columns else "")
    return line


def _insert(statement: Any, connection: sqlite3.Connection, present: datetime, file: Path) -> None:
    from sqlglot import expressions as kinds

    target, source = statement.this, statement.expression
    if not isinstance(source, kinds.Values):
        raise BadData("enters the rows of a query", field=str(file), hint="a dump has rows of values")
    has_names = isinstance(target, kinds.Schema)
    table = target.this.name if has_names else target.name
    names = [one.name for one in target.expressions] if has_names else []
    into = f" ({', '.join(map(quoted, names))})" if names else ""
    rows = [[_plain(_value(one, present)) for one in row.expressions] for row in source.expressions]
    for row in rows:
        connection.execute(f"INSERT INTO {quoted(table)}{into} VALUES ({', '.join('?' * len(row))})", row)


def _value(node: Any, present: datetime) -> Any:
    """What an expression of a dump stands for. Raises BadData for one that is none of a dump's."""
    kind = type(node).__name__
    if kind in _WORKED_OUT:
        return _WORKED_OUT[kind](node, present)
    raise BadData(f"has a value that cannot be worked out: {node.sql()[:60]}", field="INSERT", hint="write the value")


def _plain(value: Any) -> Any:
    """A value as SQLite has it: times as texts."""
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _literal(node: Any, present: datetime) -> Any:
    if node.is_string:
        return node.this
    return int(node.this) if node.this.isdigit() else float(node.this)


def _cast(node: Any, present: datetime) -> Any:
    value, wanted = _value(node.this, present), node.to.this.name
    if isinstance(value, str) and wanted in ("DATE", "TIMESTAMP", "TIMESTAMPTZ", "DATETIME"):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return value
        return read.date() if wanted == "DATE" else read
    if isinstance(value, datetime) and wanted == "DATE":
        return value.date()
    if isinstance(value, str) and wanted in ("INT", "BIGINT", "SMALLINT"):
        return int(value)
    return value


def _interval(node: Any, present: datetime) -> tuple[int, timedelta]:
    """Months, and the rest of a span of time."""
    text = str(_value(node.this, present)) if node.this is not None else ""
    words = text.split() + ([node.unit.name.lower()] if node.unit is not None else [])
    months, rest = 0, timedelta()
    for number, unit in zip(words[::2], words[1::2], strict=False):
        unit, count = unit.lower().rstrip("s"), float(number)
        if unit in ("month", "year"):
            months += int(count * (12 if unit == "year" else 1))
        elif unit in UNITS:
            rest += timedelta(seconds=count * UNITS[unit])
        else:
            what = f"has a span of time that is not known: {' '.join(words)[:40]}"
            raise BadData(what, field="INSERT", hint="days, months, years")
    return months, rest


def _arithmetic(node: Any, present: datetime) -> Any:
    left, right = _value(node.left, present), _value(node.right, present)
    sign = -1 if type(node).__name__ == "Sub" else 1
    if isinstance(right, tuple):
        return _moved(left, sign * right[0], sign * right[1])
    if type(node).__name__ == "Mul":
        return left * right
    if type(node).__name__ == "Div":
        return left / right
    return left + sign * right


def _moved(when: Any, months: int, rest: timedelta) -> Any:
    moment = when if isinstance(when, date) else datetime.fromisoformat(str(when))
    total = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(total, 12)
    last = (date(year + month // 11, (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    moved = moment.replace(year=year, month=month + 1, day=min(moment.day, last))
    if isinstance(moved, datetime) or not rest % timedelta(days=1):
        return moved + rest
    return datetime.combine(moved, datetime.min.time()) + rest


def _truncated(node: Any, present: datetime) -> Any:
    value, unit = _value(node.this, present), str(node.args["unit"].name).lower()
    moment = value if isinstance(value, datetime) else datetime.combine(value, datetime.min.time())
    kept = ("year", "month", "day", "hour", "minute", "second")
    if unit == "week":
        return (moment - timedelta(days=moment.weekday())).replace(hour=0, minute=0, second=0)
    first: dict[str, Any] = {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}
    return moment.replace(**{name: first[name] for name in kept[kept.index(unit) + 1 :]}, microsecond=0)


def _extracted(node: Any, present: datetime) -> Any:
    unit, value = str(node.this.name).lower(), _value(node.expression, present)
    moment = value if isinstance(value, datetime) else datetime.combine(value, datetime.min.time())
    return moment.replace(tzinfo=UTC).timestamp() if unit == "epoch" else getattr(moment, unit)


def _written(node: Any, present: datetime) -> str:
    """TO_CHAR. sqlglot takes the letters of a format for PostgreSQL's, also where it is MySQL's; that is undone."""
    value = _value(node.this, present)
    form = str(node.args["format"].this)
    for read, meant in (("%%u", "%d"), ("%i", "%M"), ("%s", "%S")):
        form = form.replace(read, meant)
    return str(value.strftime(form)) if isinstance(value, date) else str(value)


def _array(node: Any, present: datetime) -> list[Any]:
    return [_plain(_value(one, present)) for one in node.expressions]


_WORKED_OUT: dict[str, Callable[[Any, datetime], Any]] = {
    "Literal": _literal, "Cast": _cast, "Interval": _interval, "Add": _arithmetic, "Sub": _arithmetic,
    "Mul": _arithmetic, "Div": _arithmetic, "TimestampTrunc": _truncated, "DateTrunc": _truncated,
    "Extract": _extracted, "Array": _array, "TimeToStr": _written,
    "Null": lambda node, present: None,
    "Boolean": lambda node, present: int(bool(node.this)),
    "Neg": lambda node, present: -_value(node.this, present),
    "Paren": lambda node, present: _value(node.this, present),
    "CurrentDate": lambda node, present: present.date(),
    "CurrentTimestamp": lambda node, present: present,
}  # fmt: skip
