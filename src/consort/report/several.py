"""Several runs side by side: what each reached, against what, and their winners where they met the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from markupsafe import Markup

from consort.core.errors import ConsortError
from consort.evaluate.comparison import Comparison, compare
from consort.report.charts import Mark, interval_chart
from consort.report.lead import best_so_far, headline_of
from consort.report.model import Report, named
from consort.report.page import Section, document, sections
from consort.report.parts import Cell, abreast, card, figure, folded, joined, number, paragraph, table, tag
from consort.report.schema import Run


def render_several(runs: Sequence[Run], names: Sequence[str]) -> str:
    """One page of several runs: a table, their winners on the same examples, then each run folded."""
    reports = named([Report(run) for run in runs], names)
    groups, faults = _together(reports)
    shown = [("runs", "The runs", joined([_table(reports), *map(paragraph, faults)]))]
    for number_, together in enumerate(groups, 1):
        shown.append((f"together-{number_}", f"On {together.count} examples of {together.task}", _winners(together)))
    shown.append(("each", "Each run", joined(_one(name, report) for name, report in reports)))
    facts = {
        name: {"verb": r.run.verb, "headline": headline_of(r), "winner": r.subject, "score": _score(r)}
        for name, r in reports
    }
    return document(
        title="runs side by side · consort report",
        about=f"on {len(runs)} runs",
        headline=_headline(reports, groups),
        lead=_lead(reports),
        sections=shown,
        data={"runs": facts},
        version=runs[0].consort,
    )


def _headline(reports: Sequence[tuple[str, Report]], groups: Sequence[Comparison]) -> str:
    """Which winner is ahead where all can be compared; else how many runs there are."""
    if len(groups) != 1 or len(groups[0].systems) != len(reports):
        return f"{len(reports)} runs side by side"
    best = max(groups[0].systems, key=lambda s: s.score)
    others = [s for s in groups[0].systems if s is not best]
    again = compare([s.result for s in groups[0].systems], reference=best.result.model)
    surely = all(s.difference is not None and s.difference.interval[1] < 0 for s in again.systems if s.difference)
    if any(s.score == best.score for s in others):
        return "The runs' winners are level"
    return f"{best.result.model} is better" if surely else f"{best.result.model} is ahead, but within the noise"


def _lead(reports: Sequence[tuple[str, Report]]) -> Markup:
    tasks = list(dict.fromkeys(r.run.task.name for _, r in reports if r.run.task))
    keys = {r.run.task.key for _, r in reports if r.run.task}
    same = "the same task" if len(keys) == 1 else "different tasks or examples, so scores are not comparable"
    return joined([f"{len(reports)} runs on {', '.join(tasks) or 'no task'}: {same}."])


def _together(reports: Sequence[tuple[str, Report]]) -> tuple[list[Comparison], list[str]]:
    """The winners, by runs that measured on the same examples; at least two each; and why others are not compared."""
    groups: dict[tuple[str, ...], list[object]] = {}
    for name, report in reports:
        if report.winner is not None:
            result = replace(report.winner.result, model=name)
            groups.setdefault((result.examples_key, result.split, result.metric), []).append(result)
    found, faults = [], []
    for results in groups.values():
        if len(results) > 1:
            try:
                found.append(compare(results, reference=results[0].model))  # type: ignore[arg-type,attr-defined]
            except ConsortError as fault:
                names = ", ".join(r.model for r in results)  # type: ignore[attr-defined]
                faults.append(f"The winners of {names} are not compared: {fault}.")
    return found, faults


def _winners(together: Comparison) -> Markup:
    kind = {together.reference: "reference"}
    marks = [Mark(s.result.model, s.score, *s.interval, kind.get(s.result.model, "winner")) for s in together.systems]
    axis = f"{together.metric} on {together.split} (larger is better)"
    rows = [
        [
            s.result.model,
            Cell(number(s.score), s.score),
            Cell(f"{s.interval[0]:.3f} – {s.interval[1]:.3f}", s.interval[0]),
            Cell(_difference(s.difference), None if s.difference is None else s.difference.value),
        ]
        for s in together.systems
    ]
    titles = ["run", together.metric, "95 % interval", f"vs {together.reference}"]
    caption = "Winners on the same examples; differences are paired"
    chart = figure(interval_chart(marks, title="Winners", axis=axis), "The winner of each run, with 95 % intervals.")
    return abreast(chart) + table(titles, rows, caption=caption, name="winners")


def _difference(difference: object) -> str | None:
    if difference is None:
        return None
    low, high = difference.interval  # type: ignore[attr-defined]
    return f"{difference.value:+.3f} [{low:+.3f}, {high:+.3f}]"  # type: ignore[attr-defined]


def _table(reports: Sequence[tuple[str, Report]]) -> Markup:
    titles = [
        "run",
        "verb",
        "task",
        "metric",
        "state",
        "winner",
        "score",
        "95 % interval",
        "compared with",
        "its score",
    ]
    titles += ["difference", "tokens"]
    rows = [_row(name, report) for name, report in reports]
    return table(titles, rows, caption="One line a run; scores on test where it was read", name="runs")


def _row(name: str, report: Report) -> list[object]:
    run, winner, reference = report.run, report.winner, report.reference
    state = "finished" if run.progress is None else run.progress.state
    best, score, _ = best_so_far(report) if run.progress is not None else ("", None, "")
    low_high = report.interval(winner) if winner is not None else None
    return [
        name,
        Cell(run.verb, kind="text narrow"),
        Cell(run.task.name if run.task else None, kind="text narrow"),
        report.metric,
        state,
        Cell(report.subject or best or None, kind="text"),
        Cell(number(_score(report) if winner is not None else score), _score(report)),
        Cell(None if low_high is None else f"{low_high[0]:.3f} – {low_high[1]:.3f}", low_high[0] if low_high else None),
        Cell(reference.result.model if reference is not None else None, kind="text narrow"),
        Cell(number(report.score(reference) if reference is not None else None)),
        Cell(_difference(report.difference), report.difference.value if report.difference else None),
        winner.result.tokens if winner is not None else None,
    ]


def _score(report: Report) -> float | None:
    return None if report.winner is None else report.score(report.winner)


def _one(name: str, report: Report) -> Markup:
    shown: list[Section] = sections(report)
    inner = joined(tag("h3", title) + content for _, title, content in shown)
    return card(paragraph(headline_of(report)), title=name) + folded(f"all of {name}", inner)
