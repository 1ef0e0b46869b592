"""How a search went: scores over iterations, paths of particles, ranks at the start and at the end."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import abreast, figure
from consort.report.swarm import SearchHistory, figures
from consort.report.views.registry import view


@view(title="How the search went", order=42)
def history(report: Report, found: Any) -> Markup | None:
    """`details.history`: {optimizer, names, steps: [{generation, who, score, complete, point}], trials}."""
    return abreast(*(figure(chart, caption) for chart, caption in figures(SearchHistory.model_validate(found))))
