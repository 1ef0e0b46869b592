"""How a federation went: every round's clients, loss, drift and privacy spent, and who was left out and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import Cell, joined, paragraph, table, tiles
from consort.report.views.registry import view

COLUMNS = {
    "drift": "drift",
    "factor_error": "error of averaged factors",
    "discarded_energy": "energy discarded",
    "epsilon": "epsilon spent",
}
"""What a round may tell, and how it is called."""


@view(title="Rounds of the federation", order=36)
def federation(report: Report, found: Any) -> Markup | None:
    """`details.federation`: {aggregator, rounds: [{round, clients, excluded, metrics, ...}], stopped}."""
    rounds = found["rounds"]
    if not rounds:
        return None
    known = [name for name in COLUMNS if any(line.get(name) is not None for line in rounds)]
    titles = ["round", "clients", "left out", "loss", *(COLUMNS[name] for name in known), "seconds"]
    rows = [
        [
            Cell(str(line["round"] + 1), line["round"]),
            len(line["clients"]),
            len(line["excluded"]),
            _figure(line.get("metrics", {}).get("loss")),
            *(_figure(line.get(name)) for name in known),
            _figure(line.get("seconds")),
        ]
        for line in rounds
    ]
    parts = [
        _summary(found),
        table(titles, rows, caption="What each round ended with", name="rounds"),
        _clients(rounds),
    ]
    return joined(parts)


def _summary(found: Any) -> Markup:
    rounds = found["rounds"]
    last = rounds[-1]
    boxes = [
        ("rounds", str(len(rounds)), f"ended by the {found['stopped']}"),
        ("aggregator", str(next(iter(found["aggregator"]))), "how clients' states become one"),
    ]
    if last.get("epsilon") is not None:
        boxes.append(("privacy spent", f"{last['epsilon']:.3g}", f"epsilon, at delta {last['delta']:g}"))
    return tiles(*boxes)


def _clients(rounds: Any) -> Markup:
    """Each client: in how many rounds it counted, and why it was left out of others."""
    counted = Counter(name for line in rounds for name in line["clients"])
    reasons: dict[str, list[str]] = {}
    for line in rounds:
        for name, why in line["excluded"].items():
            reasons.setdefault(name, []).append(f"round {line['round'] + 1}: {why}")
    names = sorted({*counted, *reasons})
    rows = [[name, counted[name], Cell("; ".join(reasons.get(name, [])) or "–", kind="text")] for name in names]
    whole = table(["client", "rounds counted", "left out"], rows, caption="The clients", name="clients")
    note = "Drift is how far clients' states lie from their mean, by how far the mean moved."
    return joined([whole, paragraph(note, "note")])


def _figure(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{value:.4g}", value)
