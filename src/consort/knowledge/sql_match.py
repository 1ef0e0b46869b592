"""Whether two queries say the same, clause by clause (Spider's exact set match, Yu et al. 2018, 1809.08887).

Values do not count, nor does DISTINCT, nor the order of what a clause lists; columns that a foreign key makes equal are
equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadData
from consort.knowledge.sql_structure import Col, Columns, Condition, Query, mapped, parse
from consort.knowledge.tables import Table

PARTS = (
    "select", "select(no AGG)", "where", "where(no OP)", "group(no Having)", "group", "order", "and/or", "IUEN",
    "keywords",
)  # fmt: skip
LEVELS = ("easy", "medium", "hard", "extra")
Count = tuple[int, int, int]
"""How many parts the reference has, how many the prediction, and how many agree."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns by table and, for each column that foreign keys make equal to others, the one that stands for all."""

    columns: Columns
    equal: Mapping[str, str]

    @classmethod
    def of(cls, columns: Columns, foreign: Iterable[tuple[str, str]]) -> Schema:
        """From pairs of equal columns, "table.column"."""
        groups: list[set[str]] = []
        for pair in foreign:
            group = next((g for g in groups if g & set(pair)), None)
            if group is None:
                groups.append(set(pair))
            else:
                group |= set(pair)
        return cls(columns, {name: min(group) for group in groups for name in group})


def schemas_in(file: Path) -> dict[str, Schema]:
    """The schemas of a file in Spider's layout (`tables.json`), by `db_id`. Raises BadData."""
    try:
        return {str(one["db_id"]): _described(one) for one in json.loads(file.read_text("utf-8"))}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as fault:
        raise BadData("is no file of schemas", field=str(file), hint="Spider's tables.json") from fault


def _described(one: Mapping[str, Any]) -> Schema:
    tables = [str(name).lower() for name in one["table_names_original"]]
    columns: dict[str, list[str]] = {name: [] for name in tables}
    names = [
        (tables[number] if number >= 0 else "", str(name).lower()) for number, name in one["column_names_original"]
    ]
    for table, name in names:
        if table:
            columns[table].append(name)
    return Schema.of(columns, [(".".join(names[a]), ".".join(names[b])) for a, b in one["foreign_keys"]])


def schema_of(tables: Sequence[Table]) -> Schema:
    """The schema of a database."""
    columns = {table.name.lower(): [column.name.lower() for column in table.columns] for table in tables}
    foreign = [
        (f"{table.name}.{column.name}".lower(), f"{column.refers[0]}.{column.refers[1] or column.name}".lower())
        for table in tables
        for column in table.columns
        if column.refers
    ]
    return Schema.of(columns, foreign)


@dataclass(frozen=True, slots=True)
class Match:
    """How a prediction compares with its reference: `exact`, the counts of each part, and how hard the reference is."""

    exact: bool
    parts: Mapping[str, Count]
    level: str
    understood: bool = True


def match(prediction: str, reference: str, schema: Schema, *, every_table: bool = False) -> Match:
    """Compare two statements; a prediction that is not understood has no clauses.

    Where the reference joins tables the prediction must read the same ones; with `every_table` also where it reads
    one, as later versions of the benchmark's evaluator want and the one that its stored output is of did not.
    Raises BadData for a reference that is not understood.
    """
    wanted, understood = parse(reference, schema.columns), True
    try:
        given = parse(prediction, schema.columns)
    except BadData:
        given, understood = Query(distinct=None), False
    level = level_of(wanted)
    given, wanted = comparable(given, schema), comparable(wanted, schema)
    parts = compared(given, wanted, every_table)
    return Match(_is_exact(given, wanted, parts, every_table), parts, level, understood)


def comparable(query: Query, schema: Schema) -> Query:
    """The query without values and DISTINCT, equal columns of its own tables under one name."""
    own = {table for table in query.tables if isinstance(table, str)}

    def column(one: Col) -> Col:
        table = one.column.partition(".")[0]
        name = schema.equal.get(one.column, one.column) if table in own else one.column
        return Col(one.aggregate, name, None)

    return _undistinct(mapped(without_values(query), column))


def _undistinct(query: Query) -> Query:
    return replace(query, distinct=None, others={name: _undistinct(other) for name, other in query.others.items()})


def without_values(query: Query) -> Query:
    """The query with nothing in place of each value; queries in conditions stay, without values."""

    def one(value: Any) -> Any:
        return without_values(value) if isinstance(value, Query) else None

    def conditions(found: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            c if isinstance(c, str) else Condition(c.negated, c.operator, c.value, one(c.first), one(c.second))
            for c in found
        )

    return replace(
        query, joined=conditions(query.joined), where=conditions(query.where), having=conditions(query.having),
        others={name: without_values(other) for name, other in query.others.items()},
    )  # fmt: skip


def compared(given: Query, wanted: Query, every_table: bool = False) -> dict[str, Count]:
    """The counts of each part."""
    select = _common(given.select, wanted.select)
    bare = _common([value for _, value in given.select], [value for _, value in wanted.select])
    where = _common(given.where[::2], wanted.where[::2])
    values = _common([c.value for c in given.where[::2]], [c.value for c in wanted.where[::2]])
    groups = _common(*([c.column.partition(".")[2] or c.column for c in q.group] for q in (given, wanted)))
    words = _keywords(given), _keywords(wanted)
    found = select, bare, where, values, groups, _grouped(given, wanted), _ordered(given, wanted)
    rest = (
        _joined_by(given, wanted),
        _nested(given, wanted, every_table),
        (len(words[1]), len(words[0]), len(words[0] & words[1])),
    )
    return dict(zip(PARTS, (*found, *rest), strict=True))


def _is_exact(given: Query, wanted: Query, parts: Mapping[str, Count], every_table: bool) -> bool:
    if not all(f1(count) for count in parts.values()):
        return False
    if len(wanted.tables) < 2 and not every_table:
        return True
    return sorted(map(repr, given.tables)) == sorted(map(repr, wanted.tables))


def f1(count: Count) -> bool:
    """Whether a part agrees as a whole: it is worth all or nothing."""
    wanted, given, common = count
    return wanted == given == common


def _common(given: Sequence[Any], wanted: Sequence[Any]) -> Count:
    left, common = list(wanted), 0
    for one in given:
        if one in left:
            left.remove(one)
            common += 1
    return len(wanted), len(given), common


def _grouped(given: Query, wanted: Query) -> Count:
    same = [c.column for c in given.group] == [c.column for c in wanted.group] and given.having == wanted.having
    return int(bool(wanted.group)), int(bool(given.group)), int(bool(given.group and wanted.group and same))


def _ordered(given: Query, wanted: Query) -> Count:
    same = (given.direction, given.order, given.limit) == (wanted.direction, wanted.order, wanted.limit)
    return int(bool(wanted.order)), int(bool(given.order)), int(bool(wanted.order) and same)


def _joined_by(given: Query, wanted: Query) -> Count:
    mine, theirs = set(given.where[1::2]), set(wanted.where[1::2])
    return (1, 1, 1) if mine == theirs else (len(mine), len(theirs), 0)


def _nested(given: Query, wanted: Query, every_table: bool) -> Count:
    common = [
        _is_exact(given.others[name], other, compared(given.others[name], other, every_table), every_table)
        for name, other in wanted.others.items()
        if name in given.others
    ]
    return len(wanted.others), len(given.others), common.count(True)


def _keywords(query: Query) -> set[str]:
    found = {name for name in ("where", "group", "having") if getattr(query, name)} | set(query.others)
    if query.order:
        found |= {"order", query.direction}
    found |= {"limit"} if query.limit else set()
    clauses = query.joined, query.where, query.having
    conditions = [c for clause in clauses for c in clause[::2]]
    found |= {"or"} if any("or" in clause[1::2] for clause in clauses) else set()
    found |= {"not"} if any(c.negated for c in conditions) else set()
    return found | {c.operator for c in conditions if c.operator in ("in", "like")}


def level_of(query: Query) -> str:
    """How hard a query is, by the number of its clauses, nested queries and other parts."""
    clauses = query.joined, query.where, query.having
    conditions = [c for clause in clauses for c in clause[::2]]
    first = sum(map(bool, (query.where, query.group, query.order, query.limit))) + max(0, len(query.tables) - 1)
    first += sum(word == "or" for clause in clauses for word in clause[1::2])
    first += sum(c.operator == "like" for c in conditions)
    nested = len(query.others) + sum(isinstance(v, Query) for c in conditions for v in (c.first, c.second))
    others = sum((_aggregates(query) > 1, len(query.select) > 1, len(query.where) > 1, len(query.group) > 1))
    if first <= 1 and others == 0 and nested == 0:
        return "easy"
    if nested == 0 and ((others <= 2 and first <= 1) or (first <= 2 and others < 2)):
        return "medium"
    hard = nested == 0 and ((others > 2 and first <= 2) or (2 < first <= 3 and others <= 2))
    return "hard" if hard or (first <= 1 and others == 0 and nested <= 1) else "extra"


def _aggregates(query: Query) -> int:
    """Aggregates, and conditions with NOT, which the benchmark counts among them."""
    columns = [column for value in query.order for column in (value.left, value.right) if column]
    count: int = sum(aggregate != "none" for aggregate, _ in query.select)
    count += sum(1 for c in query.where[::2] if c.negated)
    count += sum(c.aggregate != "none" for c in (*query.group, *columns))
    return count + sum(1 for c in query.having if isinstance(c, str) or c.negated)


def table_of(matches: Iterable[Match]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by level and over all: `count`, `exact`, and of each part precision (`acc`), recall (`rec`) and `f1`.

    A part's precision is over the predictions that have it, its recall over the references that do.
    """
    found = list(matches)
    levels = {level: [m for m in found if m.level == level] for level in LEVELS} | {"all": found}
    return {level: _scores(some) for level, some in levels.items()}


def _scores(matches: Sequence[Match]) -> dict[str, dict[str, float]]:
    total = {"count": float(len(matches)), "exact": sum(m.exact for m in matches) / max(1, len(matches))}
    scores: dict[str, dict[str, float]] = {"": total}
    for part in PARTS:
        counts = [m.parts[part] for m in matches]
        given = [f1(count) for count in counts if count[1]]
        wanted = [f1(count) for count in counts if count[0]]
        acc, rec = (sum(hits) / len(hits) if hits else 0.0 for hits in (given, wanted))
        scores[part] = {"acc": acc, "rec": rec, "f1": 1.0 if acc == rec == 0 else 2 * acc * rec / (acc + rec)}
    return scores
