"""What each system is good at: scores by group of examples."""

from __future__ import annotations

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import heat_map
from consort.report.views.registry import view


@view(title="What each is good at", on="run", order=20)
def groups(report: Report, found: None) -> Markup | None:
    """A heat map of every group for every system, with its numbers; nothing without groups."""
    names = list(dict.fromkeys(g for s in report.ranked for g in s.result.groups))
    if not names:
        return None
    rows = [(s.result.model, [_shown(report, s.result.groups.get(g)) for g in names]) for s in report.ranked]
    marked = ["winner" if report.kind(s) == "winner" else "" for s in report.ranked]
    caption = f"{report.metric} by group of examples; the stronger the colour, the larger the number"
    titles = ["system", *(name or "(none)" for name in names)]
    return heat_map(titles, rows, caption=caption, name="groups", marked=marked)


def _shown(report: Report, value: float | None) -> float | None:
    return None if value is None else report.group_score(value)
