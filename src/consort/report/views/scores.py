"""Every system with its interval, its difference to the best single model, and what it cost."""

from __future__ import annotations

from markupsafe import Markup

from consort.evaluate.table import comparison_table
from consort.report.charts import Mark, interval_chart
from consort.report.model import Report
from consort.report.parts import Cell, abreast, chip, figure, joined, number, table, tiles
from consort.report.views.registry import view


@view(title="Every system", on="run", order=10)
def scores(report: Report, found: None) -> Markup | None:
    """A chart of scores with 95 % intervals, the figures that decide, and a table of all systems."""
    if report.comparison is None:
        return None
    better = "smaller is better" if report.smaller_is_better else "larger is better"
    axis = f"{report.metric} on {report.split} ({better})"
    marks = [Mark(s.result.model, report.score(s), *report.interval(s), report.kind(s)) for s in report.ranked]
    caption = f"{report.metric} on {report.comparison.count} examples of {report.split}, with 95 % intervals."
    caption += " The dashed rule is the system that the others are compared with." if len(marks) > 1 else ""
    chart = figure(interval_chart(marks, title=f"{report.metric} with 95 % intervals", axis=axis), caption)
    return abreast(chart, _tiles(report)) + _table(report)


def _tiles(report: Report) -> Markup:
    facts: list[tuple[str, str, str]] = []
    difference, decision = report.difference, report.run.decision
    for name, system in (("Winner", report.winner), ("Compared with", report.reference)):
        if system is not None and not (name == "Compared with" and system is report.winner):
            low, high = report.interval(system)
            note = f"{system.result.model}, 95 % interval {low:.3f} to {high:.3f}"
            facts.append((name, f"{report.score(system):.3f}", note))
    if difference is not None:
        low, high = difference.interval
        facts.append(
            ("Difference", number(difference.value, sign=True), f"95 % interval {low:+.3f} to {high:+.3f}, paired")
        )
        share = f"{100 * difference.share_not_better:.2f} %"
        facts.append(("Resamples in which it is not better", share, "of 10,000 paired resamples of the examples"))
    elif decision is not None:
        low, high = decision.difference.interval
        note = f"{decision.candidate} against {decision.fallback}, 95 % interval {low:+.3f} to {high:+.3f}"
        facts.append(("Best candidate, held out", number(decision.difference.value, sign=True), note))
    return tiles(*facts) if facts else Markup("")


def _table(report: Report) -> Markup:
    compared = report.comparison
    assert compared is not None
    titles = list(comparison_table(compared)[0])
    titles[-2:] = ["tokens, all inner models", "seconds an example"]
    rows = []
    for system in report.ranked:
        name, score, interval, difference, tokens, seconds = report.cells(system)
        kind = report.kind(system)
        label = chip("winner", "") if kind == "winner" else chip("compared with") if kind == "reference" else ""
        value = None if system.difference is None else system.difference.value
        head = Cell(joined([name, " ", label]), name, csv=name)
        rows.append(
            [
                head,
                Cell(score, report.score(system)),
                Cell(interval, report.interval(system)[0]),
                Cell(difference, value),
                Cell(tokens, system.result.tokens),
                Cell(seconds, system.result.seconds_per_example),
            ]
        )
    marked = ["winner" if report.kind(s) == "winner" else "" for s in report.ranked]
    what = "differences are those of the optimised score, + is better" if report.smaller_is_better else ""
    caption = f"{compared.count} examples of {report.split}, metric {report.metric}" + (f"; {what}" if what else "")
    return table(titles, rows, caption=caption, name="systems", marked=marked)
