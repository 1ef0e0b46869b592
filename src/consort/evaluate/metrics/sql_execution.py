"""Execution accuracy: the answer's statement returns the rows that a reference returns (test suites, 2010.02840)."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from consort.core.errors import BadData, BadParameter, ConsortError
from consort.core.params import Range
from consort.core.types import Example
from consort.evaluate.registry import metric
from consort.knowledge.sql_rows import Rows, same
from consort.knowledge.sql_text import statement_in
from consort.knowledge.tables import Tables


@metric(
    needs=("target",),
    unit=True,
    cases=(
        {
            "target": "SELECT sum(x) FROM numbers",
            "right": "SELECT x + 3 FROM numbers WHERE x = 3",
            "wrong": "SELECT x FROM numbers",
        },
    ),
)
def sql_execution(
    answer: str,
    example: Example,
    *,
    database: str = "",
    rows: Annotated[int, Range(1, 1000000)] = 10000,
    timeout_s: Annotated[float, Range(0.01, 3600)] = 10.0,
) -> float:
    """1 if the first statement of the answer returns the same rows as one of the targets, else 0.

    Rows count as often as they occur, in any order unless the target ends in an ORDER BY; columns in any order, their
    names do not count; numbers are equal to six digits. `database` is a file of SQLite or DuckDB, which is only read;
    in its name {group} stands for the example's group. Raises BadData for a target that does not run.
    """
    if not database:
        raise BadParameter("names no database", field="database", hint="database: FOLDER/{group}.sqlite")
    tables = _tables(database.replace("{group}", example.group or ""), rows, timeout_s)
    sql = statement_in(answer)
    try:
        given = tables.run(sql) if sql else None
    except ConsortError:  # a statement that does not run is a wrong answer, not a fault of the task
        given = None
    return float(given is not None and any(_matches(given, one, tables, example) for one in example.target))


def _matches(given: Rows, target: str, tables: Tables, example: Example) -> bool:
    try:
        wanted = tables.run(target)
    except ConsortError as fault:
        raise BadData(fault.message, field=f"line {example.line}: target", hint="mend the statement") from None
    return same(given, wanted, ordered=is_ordered(target))


def is_ordered(sql: str) -> bool:
    """Whether a statement says in which order its rows come: an ORDER BY that stands in no parentheses."""
    depth, outside = 0, []
    for letter in sql.lower():
        depth += (letter == "(") - (letter == ")")
        if not depth:
            outside.append(letter)
    return "order by" in " ".join("".join(outside).split())


@lru_cache(maxsize=256)
def _tables(path: str, rows: int, timeout_s: float) -> Tables:
    return Tables(path, rows=rows, letters=1 << 26, timeout_s=timeout_s)
