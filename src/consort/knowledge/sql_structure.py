"""A SELECT as its clauses, in the dialect that Spider's questions are asked in (Yu et al. 2018, 1809.08887).

Columns are resolved against a schema, aliases and default tables. What follows the last clause that is understood is
not read: that is how the benchmark counts, and figures that are to be compared with others' must count alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consort.core.errors import BadData

CLAUSES = ("select", "from", "where", "group", "order", "limit", "intersect", "union", "except")
JOINS = ("join", "on", "as")
CONDITIONS = ("not", "between", "=", ">", "<", ">=", "<=", "!=", "in", "like", "is", "exists")
ARITHMETIC = ("none", "-", "+", "*", "/")
AGGREGATES = ("none", "max", "min", "count", "sum", "avg")
SET_OPERATIONS = ("intersect", "union", "except")
ALL = "*"
Columns = Mapping[str, Sequence[str]]
"""Tables to their columns, all in lower case."""


@dataclass(frozen=True, slots=True)
class Col:
    """A column, perhaps under an aggregate; `column` is "table.column", or "*"."""

    aggregate: str
    column: str
    distinct: bool | None = False


@dataclass(frozen=True, slots=True)
class Val:
    """A column, or two with an operator between them."""

    operator: str
    left: Col
    right: Col | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """`value operator first [and second]`; a value that is compared with is a number, a text, a column or a query."""

    negated: bool
    operator: str
    value: Val
    first: Any
    second: Any = None


@dataclass(frozen=True, slots=True)
class Query:
    """The clauses of a SELECT. `conditions` of a clause alternate with "and" and "or"."""

    select: tuple[tuple[str, Val], ...] = ()
    distinct: bool | None = False
    tables: tuple[Any, ...] = ()
    joined: tuple[Any, ...] = ()
    where: tuple[Any, ...] = ()
    group: tuple[Col, ...] = ()
    having: tuple[Any, ...] = ()
    direction: str = ""
    order: tuple[Val, ...] = ()
    limit: bool = False
    others: Mapping[str, Query] = field(default_factory=dict)


def parse(sql: str, columns: Columns) -> Query:
    """The clauses of a statement. Raises BadData for one that is not understood."""
    tokens = tokens_of(sql)
    try:
        aliases = {tokens[i + 1]: tokens[i - 1] for i, token in enumerate(tokens) if token == "as"}
        return _Parser(tokens, {**aliases, **{table: table for table in columns}}, columns).query(0)[1]
    except (IndexError, KeyError, RecursionError) as fault:
        raise BadData(f"is not understood: {sql[:80]}", field="sql", hint="a SELECT over the schema") from fault


def tokens_of(sql: str) -> list[str]:
    """Words in lower case, signs, and texts in double quotes."""
    found = re.findall(r'"[^"]*"|[^\s,;()<>=!"\[\]{}]+|[,;()<>=!\[\]{}]', sql.replace("'", '"'))
    merged: list[str] = []
    for token in found:
        if token == "=" and merged and merged[-1] in ("!", ">", "<"):
            merged[-1] += "="
        else:
            merged.append(token if token.startswith('"') else token.lower())
    return merged


class _Parser:
    """Reads clauses from places on; each method gives the place behind what it has read."""

    def __init__(self, tokens: Sequence[str], aliases: Mapping[str, str], columns: Columns) -> None:
        self.tokens, self.aliases, self.columns = tokens, aliases, columns

    def at(self, i: int) -> str:
        return self.tokens[i] if i < len(self.tokens) else ""

    def want(self, i: int, token: str) -> int:
        if self.at(i) != token:
            raise IndexError(f"{token} is missing")
        return i + 1

    def query(self, i: int) -> tuple[int, Query]:
        block = self.at(i) == "("
        start = i + 1 if block else i
        end, tables, joined, near = self.from_(i)
        _, distinct, select = self.select(start, near)
        i = end
        i, where = self.conditions(i + 1, near) if self.at(i) == "where" else (i, ())
        i, group = self.group(i, near)
        i, having = self.conditions(i + 1, near) if self.at(i) == "having" else (i, ())
        i, direction, order = self.order(i, near)
        i, limit = (i + 2, True) if self.at(i) == "limit" else (i, False)
        i = self.semicolons(i)
        if block:
            i = self.want(i, ")")
        i = self.semicolons(i)
        others: dict[str, Query] = {}
        if self.at(i) in SET_OPERATIONS:
            operation = self.at(i)
            i, others[operation] = self.query(i + 1)
        return i, Query(select, distinct, tables, joined, where, group, having, direction, order, limit, others)

    def semicolons(self, i: int) -> int:
        while self.at(i) == ";":
            i += 1
        return i

    def from_(self, i: int) -> tuple[int, tuple[Any, ...], tuple[Any, ...], list[str]]:
        i = self.tokens.index("from", i) + 1 if "from" in self.tokens[i:] else self.want(i, "from")
        tables: list[Any] = []
        joined: list[Any] = []
        near: list[str] = []
        while i < len(self.tokens):
            block = self.at(i) == "("
            i += block
            if self.at(i) == "select":
                i, query = self.query(i)
                tables.append(query)
            else:
                i += self.at(i) == "join"
                table = self.aliases[self.at(i)]
                i += 3 if self.at(i + 1) == "as" else 1
                tables.append(table)
                near.append(table)
            if self.at(i) == "on":
                i, found = self.conditions(i + 1, near)
                joined += ["and", *found] if joined else found
            if block:
                i = self.want(i, ")")
            if self.at(i) in CLAUSES or self.at(i) in (")", ";", "having"):
                break
        return i, tuple(tables), tuple(joined), near

    def select(self, i: int, near: Sequence[str]) -> tuple[int, bool, tuple[tuple[str, Val], ...]]:
        i = self.want(i, "select")
        distinct = self.at(i) == "distinct"
        i += distinct
        found = []
        while i < len(self.tokens) and self.at(i) not in CLAUSES:
            aggregate = self.at(i) if self.at(i) in AGGREGATES else "none"
            i, value = self.value(i + (aggregate != "none"), near)
            found.append((aggregate, value))
            i += self.at(i) == ","
        return i, distinct, tuple(found)

    def group(self, i: int, near: Sequence[str]) -> tuple[int, tuple[Col, ...]]:
        if self.at(i) != "group":
            return i, ()
        i, found = self.want(i + 1, "by"), []
        while i < len(self.tokens) and self.at(i) not in CLAUSES and self.at(i) not in (")", ";", "having"):
            i, column = self.column(i, near)
            found.append(column)
            if self.at(i) != ",":
                break
            i += 1
        return i, tuple(found)

    def order(self, i: int, near: Sequence[str]) -> tuple[int, str, tuple[Val, ...]]:
        if self.at(i) != "order":
            return i, "", ()
        i, direction, found = self.want(i + 1, "by"), "asc", []
        while i < len(self.tokens) and self.at(i) not in CLAUSES and self.at(i) not in (")", ";"):
            i, value = self.value(i, near)
            found.append(value)
            if self.at(i) in ("asc", "desc"):
                direction = self.at(i)
                i += 1
            if self.at(i) != ",":
                break
            i += 1
        return i, direction, tuple(found)

    def column(self, i: int, near: Sequence[str]) -> tuple[int, Col]:
        block = self.at(i) == "("
        i += block
        if self.at(i) in AGGREGATES:
            aggregate = self.at(i)
            i = self.want(i + 1, "(")
            distinct = self.at(i) == "distinct"
            i += distinct
            name = self.name(i, near)
            i = self.want(i + 1, ")")
        else:
            aggregate, distinct = "none", self.at(i) == "distinct"
            i += distinct
            name = self.name(i, near)
            i += 1
        if block:
            i = self.want(i, ")")
        return i, Col(aggregate, name, distinct)

    def name(self, i: int, near: Sequence[str]) -> str:
        token = self.tokens[i]
        if token == ALL:
            return ALL
        if "." in token:
            alias, column = token.split(".")[:2]
            table = self.aliases[alias]
            if column != ALL and column not in self.columns[table]:
                raise KeyError(token)
            return f"{table}.{column}" if column != ALL else ALL
        found = next((one for one in near if token in self.columns.get(one, ())), None)
        if found is None:
            raise KeyError(token)
        return f"{found}.{token}"

    def value(self, i: int, near: Sequence[str]) -> tuple[int, Val]:
        block = self.at(i) == "("
        i += block
        i, left = self.column(i, near)
        operator, right = "none", None
        if self.at(i) in ARITHMETIC[1:]:
            operator = self.at(i)
            i, right = self.column(i + 1, near)
        if block:
            i = self.want(i, ")")
        return i, Val(operator, left, right)

    def compared(self, i: int, near: Sequence[str]) -> tuple[int, Any]:
        block = self.at(i) == "("
        start = i
        i += block
        found: Any
        if self.at(i) == "select":
            i, found = self.query(i)
        elif '"' in self.at(i):
            i, found = i + 1, self.tokens[i]
        else:
            i, found = self._number_or_column(i, start, near)
        if block:
            i = self.want(i, ")")
        return i, found

    def _number_or_column(self, i: int, start: int, near: Sequence[str]) -> tuple[int, Any]:
        try:
            return i + 1, float(self.tokens[i])
        except ValueError:
            end = i
            stops = {",", ")", "and", *CLAUSES, *JOINS}
            while end < len(self.tokens) and self.tokens[end] not in stops:
                end += 1
            part = _Parser(self.tokens[start:end], self.aliases, self.columns)
            return end, part.column(0, near)[1]

    def conditions(self, i: int, near: Sequence[str]) -> tuple[int, tuple[Any, ...]]:
        found: list[Any] = []
        while i < len(self.tokens):
            i, value = self.value(i, near)
            negated = self.at(i) == "not"
            i += negated
            operator = self.at(i)
            if operator not in CONDITIONS:
                raise IndexError(f"{operator} compares nothing")
            i, first = self.compared(i + 1, near)
            second = None
            if operator == "between":
                i, second = self.compared(self.want(i, "and"), near)
            found.append(Condition(negated, operator, value, first, second))
            if self.at(i) in CLAUSES or self.at(i) in (")", ";", "join", "on", "as", "having"):
                break
            if self.at(i) in ("and", "or"):
                found.append(self.at(i))
                i += 1
        return i, tuple(found)


def mapped(query: Query, column: Callable[[Col], Col], *, deep: bool = True) -> Query:
    """The query with each of its columns changed; with `deep` those behind INTERSECT, UNION and EXCEPT too.

    Queries inside conditions stay as they are.
    """

    def val(value: Val) -> Val:
        return Val(value.operator, column(value.left), value.right and column(value.right))

    def conditions(found: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            c if isinstance(c, str) else Condition(c.negated, c.operator, val(c.value), c.first, c.second)
            for c in found
        )

    return Query(
        tuple((aggregate, val(value)) for aggregate, value in query.select), query.distinct, query.tables,
        conditions(query.joined), conditions(query.where), tuple(map(column, query.group)), conditions(query.having),
        query.direction, tuple(map(val, query.order)), query.limit,
        {name: mapped(other, column) if deep else other for name, other in query.others.items()},
    )  # fmt: skip
