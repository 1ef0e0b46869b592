"""A study of a swarm: every system with the evaluations it took, and what the swarm did."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import Cell, facts, number, table
from consort.report.views.registry import view


@view(title="The swarm and its baselines", order=15)
def study(report: Report, found: Any) -> Markup | None:
    """`details.study`: {lines: [{name, dev, test, interval, evaluations, note}], analysis: {name: value}}."""
    rows = [
        [
            line["name"],
            Cell(number(line["dev"]), line["dev"]),
            Cell(number(line["test"]), line["test"]),
            line["evaluations"],
            Cell(line["note"] or None, kind="text"),
        ]
        for line in found["lines"]
    ]
    titles = ["system", "dev", "test", "evaluations", "note"]
    whole = table(titles, rows, caption="All see the same dev examples; test was read once", name="study")
    told = [(name.replace("_", " "), _text(value)) for name, value in found["analysis"].items()]
    return whole + facts(told, caption="What the swarm did")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
