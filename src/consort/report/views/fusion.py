"""What a fusion did: how far teachers' texts were aligned, whose rows or answers were taken, the students."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import Cell, joined, paragraph, table
from consort.report.views.registry import view


@view(title="How the models were fused", order=38)
def fusion(report: Report, found: Any) -> Markup | None:
    """`details.fusion`: {students: {name: folder}, aligned: {source: share}, chosen: {group: {name: n}}, pairs}."""
    parts = []
    if found.get("pairs") is not None:
        parts.append(paragraph(f"{found['pairs']} pairs of answers were learnt from."))
    students, aligned = found["students"], found["aligned"]
    if students:
        rows = [[name, Cell(str(folder), kind="text"), _share(aligned.get(name))] for name, folder in students.items()]
        titles = ["student", "folder", "share of its teacher's positions aligned with the pivot's"]
        parts.append(table(titles, rows, caption="Students, before they were merged", name="students"))
    if found["chosen"]:
        names = list(dict.fromkeys(name for own in found["chosen"].values() for name in own))
        rows = [[group, *(own.get(name, 0) for name in names)] for group, own in found["chosen"].items()]
        caption = "How often each model's rows or answers were taken, by group of texts"
        parts.append(table(["group", *names], rows, caption=caption, name="chosen"))
    return joined(parts) if parts else None


def _share(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{100 * value:.1f} %", value)
