"""Exact set match: the answer's statement says what the reference says, clause by clause (Spider, 1809.08887)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from consort.core.errors import BadData, BadParameter
from consort.core.types import Example
from consort.evaluate.registry import metric
from consort.knowledge.sql_match import Schema, match, schema_of, schemas_in
from consort.knowledge.sql_text import statement_in
from consort.knowledge.tables import Tables


@metric(
    needs=("target",),
    unit=True,
    cases=(
        {
            "target": "SELECT x FROM numbers WHERE x > 1",
            "right": "select x from numbers where x > 2",
            "wrong": "SELECT count(x) FROM numbers",
        },
    ),
)
def sql_match(
    answer: str, example: Example, *, schemas: str = "", database: str = "", every_table: bool = False
) -> float:
    """1 if all ten parts of the first statement of the answer are those of a target, else 0.

    Values, DISTINCT and the order within a clause do not count. The schema is the one that `schemas`, a file in the
    layout of Spider's tables.json, has for the example's group; or that of `database`, a file of SQLite or DuckDB in
    whose name {group} stands for the group. Where a target joins tables they must be the same ones; with
    `every_table` also where it reads one. Raises BadData for a target that is not understood.
    """
    if bool(schemas) == bool(database):
        hint = "schemas: tables.json, or database: FOLDER/{group}.sqlite"
        raise BadParameter("needs schemas or a database, not both", field="schemas", hint=hint)
    schema = _schema(schemas, database, example.group or "")
    sql = statement_in(answer)
    try:
        return float(any(match(sql, target, schema, every_table=every_table).exact for target in example.target))
    except BadData as fault:
        raise BadData(fault.message, field=f"line {example.line}: target", hint=fault.hint) from None


def _schema(schemas: str, database: str, group: str) -> Schema:
    if database:
        return _of_database(database.replace("{group}", group))
    known = _of_file(schemas)
    if group not in known:
        raise BadData(f"no schema is called {group!r}", field=schemas, hint="each example's group names its schema")
    return known[group]


@lru_cache(maxsize=8)
def _of_file(file: str) -> dict[str, Schema]:
    return schemas_in(Path(file))


@lru_cache(maxsize=256)
def _of_database(file: str) -> Schema:
    return schema_of(Tables(file).tables)
