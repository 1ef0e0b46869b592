"""The linear assignment problem: one column for each row, so that the chosen entries have the greatest sum.

Shortest augmenting paths (Jonker and Volgenant 1987) as Crouse 2016 writes them ("On implementing 2D rectangular
assignment algorithms"). Written here because no dependency of consort brings it. Rows whose best columns differ, as
those of a permuted copy do, take O(n²) in all; a random matrix of n = 2000 takes a second.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def assign(gain: Float[np.ndarray, "row row"]) -> Int[np.ndarray, "row"]:
    """The column of each row. Among equal sums one is chosen by position alone; entries must be finite."""
    rows = len(gain)
    top = gain.max(initial=0.0)
    row_price, column_price = top - gain.max(axis=1, initial=-np.inf), np.zeros(rows)
    column_of, row_of = np.full(rows, -1), np.full(rows, -1)
    for row, column in enumerate(gain.argmax(axis=1) if rows else ()):
        if row_of[column] < 0:
            column_of[row], row_of[column] = column, row
    for start in np.flatnonzero(column_of < 0).tolist():
        _augment(gain, top, start, row_price, column_price, column_of, row_of)
    return column_of


def _augment(
    gain: Float[np.ndarray, "row row"],
    top: float,
    start: int,
    row_price: Float[np.ndarray, "row"],
    column_price: Float[np.ndarray, "row"],
    column_of: Int[np.ndarray, "row"],
    row_of: Int[np.ndarray, "row"],
) -> None:
    """Gives the row `start` a column by the cheapest chain of exchanges, and keeps the prices feasible."""
    rows = len(gain)
    distance, previous, done = np.full(rows, np.inf), np.full(rows, -1), np.zeros(rows, bool)
    row, lowest, seen = start, 0.0, [start]
    while True:
        slack = lowest + (top - gain[row]) - row_price[row] - column_price
        nearer = (slack < distance) & ~done
        distance[nearer], previous[nearer] = slack[nearer], row
        column = int(np.where(done, np.inf, distance).argmin())
        lowest, done[column] = float(distance[column]), True
        if row_of[column] < 0:
            break
        row = int(row_of[column])
        seen.append(row)
    row_price[start] += lowest
    others = np.array(seen[1:], dtype=np.int64)
    row_price[others] += lowest - distance[column_of[others]]
    column_price[done] -= lowest - distance[done]
    while True:
        row = int(previous[column])
        row_of[column] = row
        column_of[row], column = column, column_of[row]
        if row == start:
            return
