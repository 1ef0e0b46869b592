"""What `consort auto` ended with, as lines for a terminal: all systems on test, the front, the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from consort.cli.output import print_table

if TYPE_CHECKING:
    from consort.runs.results import Outcome

COLUMNS = ("front", "fit", "held out", "test", "95 % interval", "cost", "s/answer", "plan")
SKIPPED = "not tried: "


def show(outcome: Outcome) -> None:
    """Print how all compare on test, the front, the outcome in a sentence and how far the choice was flattered."""
    from consort.evaluate import comparison_table

    print_table(*comparison_table(outcome.comparison))
    if outcome.front:
        print_table(*front_table(outcome.front))
    print(outcome.headline)
    if (chosen := selection_line(outcome.selection)) is not None:
        print(chosen)


def told_briefly(notes: Sequence[str]) -> list[str]:
    """The notes of a run for a terminal: what was not tried in one line, but for want of hours line by line.

    >>> told_briefly(["a was left out", "not tried: guards: no index", "not tried: budget: more merges"])
    ['a was left out', 'not tried (report.html says why): guards; budget']
    """
    brief = [line for line in notes if line.startswith(SKIPPED) and not line.startswith(f"{SKIPPED}hours: ")]
    skipped = [line.removeprefix(SKIPPED).partition(":")[0] for line in brief]
    told = [line for line in notes if line not in brief]
    names = "; ".join(dict.fromkeys(skipped))
    return [*told, f"not tried (report.html says why): {names}"] if skipped else told


def front_table(points: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Column titles, and a row of cells for each point of the front, cheapest first; the winner has a star."""
    return COLUMNS, [_row(point) for point in points]


def _row(point: Mapping[str, Any]) -> tuple[str, ...]:
    low_high = point["interval"]
    return (
        point["name"] + (" *" if point["winner"] else ""),
        _number(point["fit"]),
        _number(point["held_out"]),
        _number(point["test"]),
        "–" if low_high is None else f"{low_high[0]:.3f} – {low_high[1]:.3f}",
        "–" if point["cost"] is None else f"{point['cost']:.3g}",
        "–" if point["seconds"] is None else f"{point['seconds']:.3g}",
        point["plan"],
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def selection_line(chosen: Mapping[str, Any] | None) -> str | None:
    """How many systems were looked at, and by how much that flattered the best of them; None where nothing is known."""
    if chosen is None:
        return None
    looked = f"looked at: {chosen['looked_at']} systems on fit"
    if chosen["best"] is None:
        return f"{looked}; no combination was taken from them"
    low, high = chosen["interval"]
    told = (
        f"{looked}; the best, {chosen['best']}, has {chosen['fit']:.3f} there and {chosen['held_out']:.3f} on held-out,"
    )
    return f"{told} which was not searched: flattered by {chosen['optimism']:+.3f} [{low:+.3f}, {high:+.3f}]"
