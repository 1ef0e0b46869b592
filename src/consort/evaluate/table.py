"""A comparison as cells of text, for a terminal or a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.evaluate.comparison import Comparison, Difference, System

COLUMNS = ("system", "score", "95 % interval", "vs {reference}", "tokens", "s/example")


def comparison_table(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Column titles and one row of cells for each system, in the comparison's order.

    Perplexity and bits per byte are shown as themselves (smaller is better); differences stay those of the optimised
    score, where + is better.
    """
    shown = {"bits_per_byte": "bits/byte"}.get(comparison.unit, comparison.metric)
    titles = tuple(c.format(reference=comparison.reference) for c in COLUMNS)
    return (titles[0], shown, *titles[2:]), [_row(comparison, system) for system in comparison.systems]


def plain_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The cells as lines of text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = ([cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
             for row in (titles, *rows))  # fmt: skip
    return "\n".join("  ".join(line).rstrip() for line in lines)


def shown_score(comparison: Comparison, score: float) -> float:
    """The figure that people know: perplexity or bits per byte instead of its negative logarithm."""
    if comparison.unit == "bits_per_byte":
        return -score
    return math.exp(-score) if comparison.metric == "perplexity" else score


def shown_interval(comparison: Comparison, bounds: tuple[float, float]) -> tuple[float, float]:
    """The bounds as scores that a table shows, the lower one first."""
    low, high = sorted(shown_score(comparison, bound) for bound in bounds)
    return low, high


def difference_text(difference: Difference | None) -> str:
    """A difference with its interval as a table shows it."""
    if difference is None:
        return "–"
    low, high = difference.interval
    return f"{difference.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _row(comparison: Comparison, system: System) -> tuple[str, ...]:
    low, high = shown_interval(comparison, system.interval)
    return (
        system.result.model,
        f"{shown_score(comparison, system.score):.3f}",
        f"{low:.3f} – {high:.3f}",
        difference_text(system.difference),
        f"{system.result.tokens:,}",
        f"{system.result.seconds_per_example:.3g}",
    )
