"""Rows that a query returned: as text for a model, and compared with those of another query."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consort.core.visible import visible

NEAR = 1e-6
"""Relative distance within which two numbers are one."""
TRIED = 5000
"""Orders of columns that are tried where values alone do not tell which column is which."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A result; `cut` says that there was more of it. `sql` is the statement that was run."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    cut: bool = False
    sql: str = ""

    def text(self) -> str:
        """A line for the columns and one for each row, values apart by " | ".

        >>> print(Rows(("name", "age"), (("Ann", 7), (None, 8.5))).text())
        name | age
        Ann | 7
        NULL | 8.5
        """
        lines = [" | ".join(map(_shown, self.columns)), *(" | ".join(map(_shown, row)) for row in self.rows)]
        return "\n".join([*lines, "…"] if self.cut else lines)


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value[:16].hex()}'"
    return visible(str(value)).replace("\n", " ")


def key(value: Any) -> Any:
    """A value as it is compared: whole numbers and truth values are numbers, numbers are equal to six digits."""
    if value is None:
        return (0, "")
    if isinstance(value, bytes):
        return (3, value.hex())
    if isinstance(value, bool | int | float) or type(value).__name__ == "Decimal":
        number = float(value)
        if not math.isfinite(number):
            return (1, str(number))
        return (1, "0" if number == 0 else f"{number:.6e}")
    return (2, str(value))


def canonical(rows: Rows, ordered: bool = False) -> str:
    """A text that two results share if they have the same rows, in any order but where `ordered`.

    Names of columns do not count, nor does their order, as far as their values tell them apart.
    """
    columns = list(zip(*([key(value) for value in row] for row in rows.rows), strict=True))
    columns.sort(key=lambda column: repr(sorted(column, key=repr)))
    table = list(zip(*columns, strict=True))
    return repr((len(rows.columns), table if ordered else sorted(table, key=repr)))


def same(one: Rows, other: Rows, *, ordered: bool = False) -> bool:
    """Whether two results have the same rows, as often, columns in any order; in the same order where `ordered`.

    >>> same(Rows(("a", "b"), ((1, "x"), (2, "y"))), Rows(("b", "a"), (("y", 2.0), ("x", 1.0))))
    True
    """
    left, right = ([tuple(map(key, row)) for row in r.rows] for r in (one, other))
    if len(one.columns) != len(other.columns) or len(left) != len(right):
        return False
    if not left:
        return True
    return any(_equal(left, [tuple(row[i] for i in order) for row in right], ordered) for order in _orders(left, right))


def _equal(left: Sequence[tuple[Any, ...]], right: Sequence[tuple[Any, ...]], ordered: bool) -> bool:
    return list(left) == list(right) if ordered else Counter(left) == Counter(right)


def _orders(left: Sequence[tuple[Any, ...]], right: Sequence[tuple[Any, ...]]) -> list[tuple[int, ...]]:
    """Orders of the right columns in which each has the values of the left one; not more than are worth trying."""
    mine = [Counter(column) for column in zip(*left, strict=True)]
    theirs = [Counter(column) for column in zip(*right, strict=True)]
    fits = [[j for j, column in enumerate(theirs) if column == own] for own in mine]
    if all(len(f) == 1 for f in fits):
        order = tuple(f[0] for f in fits)
        return [order] if len(set(order)) == len(order) else []
    if math.prod(map(len, fits)) > TRIED:
        return [tuple(range(len(mine)))]
    found: list[tuple[int, ...]] = [()]
    for options in fits:
        found = [(*order, j) for order in found for j in options if j not in order]
    return found


def overlap(one: Rows, other: Rows) -> float:
    """How much two results have in common, in [0, 1]: F1 of their rows, columns in the order of their values."""
    if same(one, other):
        return 1.0
    left, right = (_loose(r) for r in (one, other))
    common = sum((left & right).values())
    return 2 * common / max(1, sum(left.values()) + sum(right.values()))


def _loose(rows: Rows) -> Counter[str]:
    return Counter(repr(sorted(map(key, row))) for row in rows.rows)
