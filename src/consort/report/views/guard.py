"""What a guard found in an answer and did about it."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import joined, number, paragraph, shaded
from consort.report.views.registry import view


@view(title="guard", on="answers")
def guard(report: Report, found: Any) -> Markup:
    """`details.guard` of an answer: its doubt, what was done, and the sentences coloured by their doubts."""
    lines = [paragraph(f"doubt {number(found['doubt'])}: {found['done']}")]
    spans = [shaded(str(one["text"]), one["doubt"] or 0.0, f"doubt {number(one['doubt'])}") for one in found["spans"]]
    if found.get("was") is not None and not spans:
        lines.append(paragraph(f"was: {found['was']}"))
    quotes = [paragraph(str(q["text"]), "note") for one in found["spans"] for q in one["evidence"][:1]]
    return joined([*lines, paragraph(joined(spans)) if spans else "", *quotes])
