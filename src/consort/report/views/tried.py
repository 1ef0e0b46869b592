"""What was tried, by plan and model names: scores in order, score against price, and every candidate."""

from __future__ import annotations

import re

import yaml
from markupsafe import Markup

from consort.core.counted import counted
from consort.report.charts import history_chart
from consort.report.model import Report
from consort.report.parts import (
    Cell,
    abreast,
    card,
    chip,
    figure,
    folded,
    joined,
    number,
    paragraph,
    preformatted,
    table,
    tag,
)
from consort.report.prices import price_chart
from consort.report.schema import Candidate, Run
from consort.report.views.registry import view


@view(title="What was tried", on="run", order=40)
def tried(report: Report, found: None) -> Markup | None:
    """The course of the search, how the choice was made, prices, and the candidates with their plans."""
    run = report.run
    if not run.candidates or "history" in run.details:  # a search by points is shown by its own view
        return None
    unit = "log-probability of a token, nats" if report.smaller_is_better else _metric(run)
    axis = f"{unit} on fit"
    baseline = max(run.singles_fit.values(), default=None)
    history = history_chart([s.score for s in run.search], baseline, title="Scores in order", axis=axis)
    about = "Each dot is one system scored on the fit examples, in order; the line is the best so far."
    charts = abreast(figure(history, about), None if run.front else price_chart(report), _choice(report))
    return charts + _table(run, unit)


def _metric(run: Run) -> str:
    return run.task.metric if run.task else "score"


def _choice(report: Report) -> Markup:
    run = report.run
    if run.task is None or run.progress is not None:
        return Markup("")
    parts = []
    if run.search and run.task.held_out:
        parts.append(
            paragraph(
                f"{counted(len(run.search), 'system was', 'systems were')} scored on {run.task.fit} fit examples. The "
                f"best of them met the {run.task.held_out} held-out examples, which no coefficient has seen."
            )
        )
    if run.decision is not None:
        d = run.decision
        candidate = report.subject if d.kept else d.candidate
        low, high = d.difference.interval
        told = f"There {candidate} scored {number(d.candidate_score)} and {d.fallback} {number(d.fallback_score)}: a "
        told += f"difference of {number(d.difference.value, sign=True)} ({low:+.3f} to {high:+.3f})."
        parts.append(paragraph(told))
        parts.append(paragraph(f"So {candidate if d.kept else d.fallback} was kept."))
    return card(*parts, title="How the choice was made") if parts else Markup("")


def _table(run: Run, unit: str) -> Markup:
    ranked = sorted(run.candidates, key=_rank)
    titles = [
        "candidate",
        f"fit ({unit})",
        "held out",
        "95 % interval",
        f"price, {run.objective.unit}",
        "outcome",
        "note",
    ]
    titles.append("plan")
    rows = [_line(candidate, run.prices.get(candidate.name), _why(candidate, run)) for candidate in ranked]
    caption = "Candidates, the kept one first, with the reason why others were not"
    marked = [candidate.status for candidate in ranked]
    return table(titles, rows, caption=caption, name="candidates", classes="tried tall", marked=marked)


def _line(c: Candidate, price: float | None, why: str) -> list[object]:
    made = tag("div", _in_one_line(c.plan), class_="note made") if c.plan else Markup("")
    head = Cell(joined([c.name, made]), c.name, csv=c.name)
    bounds = c.interval and f"{c.interval[0]:.3f} – {c.interval[1]:.3f}"
    return [
        head,
        Cell(number(c.fit), c.fit),
        Cell(number(c.held_out), c.held_out),
        Cell(bounds, c.interval[0] if c.interval else None),
        Cell("–" if price is None else f"{price:.3g}", price),
        Cell(chip(c.status, c.status), c.status),
        Cell(why, kind="text"),
        Cell(folded("plan", preformatted(c.plan.rstrip())) if c.plan else None, csv=c.plan, kind="text"),
    ]


def _why(c: Candidate, run: Run) -> str:
    """What was noted of a candidate, else why another was taken, as far as its score on fit tells."""
    kept = next((one.fit for one in run.candidates if one.status == "kept"), None)
    if c.note or c.status != "rejected" or c.fit is None:
        return c.note
    if kept is None:
        best = max(run.singles_fit.values(), default=None)
        return "not better on fit than the best single model" if best is not None and c.fit <= best else ""
    if c.fit < kept:
        return "below the best on fit"
    if c.fit == kept:
        return "equal on fit: of equals the cheaper, then the earlier one is taken"
    return "ahead on fit, but not beyond doubt"


def _in_one_line(plan: str, most: int = 300) -> str:
    """A plan as one line of YAML, which names its models."""
    try:
        value = yaml.load(plan, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError):
        return plan[:most]
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1 << 20, allow_unicode=True)
    text = text.strip().removesuffix("\n...").strip()
    text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    text = re.sub(r"'([\w:./+@#-]+)'", r"\1", text)
    return text if len(text) <= most else text[:most] + " …"


def _rank(candidate: Candidate) -> tuple[int, float]:
    order = {"kept": 0, "rejected": 1, "failed": 2}[candidate.status]
    score = candidate.held_out if candidate.held_out is not None else candidate.fit
    return order, -(score if score is not None else float("-inf"))
