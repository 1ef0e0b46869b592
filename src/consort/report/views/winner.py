"""How the winner is made: its plan, its place, how much of each model is in it."""

from __future__ import annotations

from markupsafe import Markup

from consort.report.charts import coefficient_chart
from consort.report.model import Report
from consort.report.parts import abreast, card, chip, figure, joined, paragraph, preformatted, tag
from consort.report.views.registry import view


@view(title="How the winner is made", on="run", order=30)
def winner(report: Report, found: None) -> Markup | None:
    """Name, kind, plan and folder of the winner, notes of the run, and a chart for each set of coefficients."""
    made, run = report.run.winner, report.run
    notes = [paragraph(note, "note") for note in run.notes]
    if made is None:
        return abreast(card(*notes, title="Notes")) if notes else None
    parts = []
    if made.path:
        parts.append(paragraph(joined(["Saved in ", tag("code", made.path), " beside this file."])))
    if made.plan:
        verbs = joined([tag("code", verb) for verb in ("generate", "score", "eval", "serve")], ", ")
        parts.append(paragraph(joined(["Its plan, as consort's verbs take it (", verbs, "):"])))
        parts.append(preformatted(made.plan.rstrip()))
    if run.base:
        parts.append(paragraph(joined(["Deltas are taken from ", tag("b", run.base), "."]), "note"))
    title = joined([report.subject, " ", chip(made.kind) if made.kind else ""])
    charts = [
        figure(
            coefficient_chart(values, title=f"Coefficients: {name}", axis=f"{name} (a factor, no unit)"),
            f"{name} of each model in the winner",
        )
        for name, values in made.coefficients.items()
        if values
    ]
    return abreast(card(*parts, *notes, title=title), *charts)
