"""The front of a run: what no cheaper system equals, each with its plan; and how far the search flattered the best."""

from __future__ import annotations

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import Cell, abreast, card, chip, joined, number, paragraph, table, tag
from consort.report.prices import price_chart
from consort.report.schema import FrontPoint, Run
from consort.report.views.registry import view


@view(title="Score against cost", on="run", order=15)
def front(report: Report, found: None) -> Markup | None:
    """Every system by price and score, the front's points with links to their plans, and what they do on test."""
    run = report.run
    if not run.front:
        return None
    return abreast(price_chart(report), _told(run)) + _table(report)


def _told(run: Run) -> Markup:
    chosen = run.selection
    parts = []
    if chosen is not None:
        parts.append(paragraph(f"Systems looked at on fit: {chosen.looked_at}."))
        if chosen.interval is not None and chosen.optimism is not None:
            low, high = chosen.interval
            told = f"The best of them, {chosen.best}, scored {number(chosen.fit)} there and {number(chosen.held_out)} "
            told += "on held-out examples, on which nothing was searched: the choice flattered it by "
            told += f"{number(chosen.optimism, sign=True)} ({low:+.3f} to {high:+.3f}); single models, which nothing "
            told += f"chose, differ by {number(chosen.halves, sign=True)} between the two halves."
            parts.append(paragraph(told))
    said = "Who is on the front is decided on fit. Test was read once, after that and after the winner was chosen, so "
    said += "the winner's interval needs no correction for what was looked at. Each other interval of the front holds "
    said += "with 95 % by itself, not all of them together: they claim nothing against one another."
    return card(*parts, paragraph(said, "note"), title="How sure that is")


def _table(report: Report) -> Markup:
    run = report.run
    titles = ["system", "fit", "held out", "test", "95 % interval", f"price on fit, {run.objective.unit}"]
    titles += ["price on test", "seconds an answer, on this machine", "plan"]
    rows = [_row(point) for point in run.front]
    marked = ["winner" if point.winner else "" for point in run.front]
    return table(titles, rows, caption="The front, cheapest first", name="front", marked=marked)


def _row(point: FrontPoint) -> list[object]:
    labels = [chip("winner", "")] if point.winner else []
    labels += [] if point.on_front else [chip("equalled by a cheaper one")]
    bounds = None if point.interval is None else f"{point.interval[0]:.3f} – {point.interval[1]:.3f}"
    plan = tag("a", tag("code", point.plan), href=point.plan)
    return [
        Cell(joined([point.name, *labels], " "), point.name, csv=point.name),
        Cell(number(point.fit), point.fit),
        Cell(number(point.held_out), point.held_out),
        Cell(number(point.test), point.test),
        Cell(bounds, point.interval[0] if point.interval else None),
        Cell(_price(point.cost), point.cost),
        Cell(_price(point.test_cost), point.test_cost),
        Cell(None if point.seconds is None else f"{point.seconds:.3g}", point.seconds),
        Cell(plan, point.plan, csv=point.plan, kind="text"),
    ]


def _price(price: float | None) -> str:
    return "–" if price is None else f"{price:.3g}"
