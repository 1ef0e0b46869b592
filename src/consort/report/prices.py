"""Score against the price of an answer, of all systems of a run."""

from __future__ import annotations

from markupsafe import Markup

from consort.report.charts import Point, front_chart
from consort.report.model import Report
from consort.report.parts import figure
from consort.report.schema import Run


def price_chart(report: Report) -> Markup:
    """Score on fit against price, of all systems of which both are known."""
    run = report.run
    unit = "log-probability of a token, nats" if report.smaller_is_better else run.task.metric if run.task else "score"
    title = "Score against the price of an answer"
    chart = front_chart(priced(run), title=title, axis=f"{unit} on fit", unit=run.objective.unit)
    about = "Each dot is one system: its score on fit, and what an answer costs. The line joins those that nothing "
    about += "cheaper equals" + ("; each leads to its plan." if run.front else ".")
    return figure(chart, about)


def priced(run: Run) -> list[Point]:
    """Singles and candidates whose price and score are known."""
    found = {c.name: (c.fit, "dot winner" if c.status == "kept" else "tried") for c in run.candidates}
    scores = {name: (fit, "rival") for name, fit in run.singles_fit.items()} | found
    listed = {point.name: point for point in run.front}
    points = []
    for name, (fit, kind) in scores.items():
        if (price := run.prices.get(name)) and fit is not None:
            own = listed.get(name)
            if own is None:
                points.append(Point(name, price, fit, kind))
            else:
                shown = "dot winner" if own.winner else f"{kind} front"
                points.append(Point(name, price, fit, shown, own.plan, own.on_front))
    return points
