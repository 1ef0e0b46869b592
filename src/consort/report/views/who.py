"""Who answered how often: whose answers a team's are, and how often each member was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import Cell, table
from consort.report.views.registry import view

NAMED = ("answered_by", "chosen")
"""Under which details a strategy says whose the answer is."""


@view(title="Who answered", on="run", order=45)
def who(report: Report, found: None) -> Markup | None:
    """For every system of several models: whose answers were given, and what each inner model was asked and read."""
    rows = []
    for system in report.ranked:
        result = system.result
        answered = Counter(by for details in result.details if (by := answerer(details)))
        names = list(dict.fromkeys([*answered, *result.cost]))
        if len(names) < 2:
            continue
        for name in names:
            usage = result.cost.get(name)
            given = answered.get(name, 0) if answered else None
            share = None if given is None else given / result.count
            rows.append(
                [
                    result.model,
                    Cell(name, name, kind="text"),
                    Cell("–" if given is None else f"{given}", given),
                    Cell("–" if share is None else f"{100 * share:.1f} %", share),
                    None if usage is None else usage.calls,
                    None if usage is None else usage.total_tokens,
                ]
            )
    if not rows:
        return None
    count = report.results[0].count
    titles = ["system", "model", "answers given", "share of answers", "times asked", "tokens read and written"]
    caption = f"Of {count} examples of {report.split}; a dash where a system's answers are nobody's alone"
    return table(titles, rows, caption=caption, name="who-answered")


def answerer(details: Mapping[str, Any]) -> str:
    """Whose an answer is, by what the strategy told of it; "" where it is nobody's alone."""
    for name in NAMED:
        if isinstance(details.get(name), str):
            return str(details[name])
    return ""
