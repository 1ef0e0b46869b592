"""A run folder as one self-contained HTML file: no script, no external resource, every text escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from consort.core.files import write_atomic
from consort.evaluate.comparison import Comparison, System, compare
from consort.evaluate.table import comparison_table, shown_interval, shown_score
from consort.report.charts import Mark, Point, coefficient_chart, front_chart, history_chart, interval_chart
from consort.report.schema import Run, read_run
from consort.report.swarm import figures
from consort.report.zoo import kinship_charts

REPORT_FILE = "report.html"
MAX_ANSWERS = 12
MAX_CANDIDATES = 15


def render(folder: Path | str) -> str:
    """The HTML of a run folder's results.json. Raises BadData for a missing or damaged file."""
    run, raw = read_run(Path(folder))
    here = files("consort.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "signed": lambda v: f"{v:+.3f}",
        "fixed": lambda v: "–" if v is None else f"{v:.3f}",
        "plain": plain,
    }
    template = environment.from_string((here / "report.html.j2").read_text("utf-8"))
    style = Markup((here / "style.css").read_text("utf-8"))
    return template.render(style=style, data=embedded(raw), run=run, **view(run))


def write_report(folder: Path | str, out: Path | str | None = None) -> Path:
    """Write `render(folder)` to `out`, by default report.html in the folder; returns where it is."""
    path = Path(out) if out is not None else Path(folder) / REPORT_FILE
    write_atomic(path, render(folder))
    return path


def embedded(value: Any) -> Markup:
    """JSON that no text can break out of, for `<script type="application/json">`."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def view(run: Run) -> dict[str, Any]:
    """Everything the template shows that is not in the run itself."""
    comparison, name = _compared(run), subject(run)
    titles, rows = comparison_table(comparison)
    by_score = sorted(range(len(rows)), key=lambda i: -comparison.systems[i].score)
    winner = next((s for s in comparison.systems if s.result.model == name), None)
    reference = next(s for s in comparison.systems if s.difference is None)
    ranked = sorted(run.candidates, key=_rank)
    best_single = max(run.singles_fit.values(), default=None)
    return {
        "comparison": comparison,
        "headline": headline(run, winner),
        "subject": name,
        "winner": winner and rows[comparison.systems.index(winner)],
        "difference": None if run.is_single or winner is None else winner.difference,
        "reference": rows[comparison.systems.index(reference)],
        "titles": titles,
        "rows": [rows[i] for i in by_score],
        "metric": titles[1],
        "scores": interval_chart(_marks(name, comparison, by_score), title=f"{titles[1]} with 95 % intervals"),
        "history": history_chart([s.score for s in run.search], best_single, title="Search history: score on fit"),
        "swarm": figures(run.history) if run.history else [],
        "kinship": kinship_charts(run.zoo.models, run.zoo.weights, run.zoo.deltas, run.zoo.threshold)
        if run.zoo
        else [],
        "front": front_chart(priced(run), title="Score on fit against the price of an answer"),
        "candidates": [part for part in (ranked[:MAX_CANDIDATES], ranked[MAX_CANDIDATES:]) if part],
        "coefficients": [
            (name, coefficient_chart(values, title=f"Coefficients: {name}"))
            for name, values in run.winner.coefficients.items()
            if values
        ],
        "heat": heat_map([comparison.systems[i] for i in by_score], comparison),
        "answers": differing_answers(winner, reference),
    }


def priced(run: Run) -> list[Point]:
    """Singles and candidates whose price and score are known."""
    tried = {c.name: (c.fit, "dot winner" if c.status == "kept" else "tried") for c in run.candidates}
    scores = {name: (fit, "rival") for name, fit in run.singles_fit.items()} | tried
    found = ((name, run.prices.get(name), fit, kind) for name, (fit, kind) in scores.items())
    return [Point(name, price, fit, kind) for name, price, fit, kind in found if price and fit is not None]


def subject(run: Run) -> str:
    """What the winner is called: the single model, or the candidate that was kept."""
    singles = {r.model: r.score for r in run.singles}
    if run.winner.name in singles:
        return run.winner.name
    if run.winner.kind == "single":
        return run.decision.fallback if run.decision else max(singles, key=singles.__getitem__)
    return next((c.name for c in run.candidates if c.status == "kept"), run.winner.name)


def headline(run: Run, winner: System | None) -> str:
    """The outcome in one sentence, no stronger than the interval allows."""
    if run.is_single or (run.decision is not None and not run.decision.kept):
        return "No combination beat the best single model, so it stays"
    if winner is None or winner.difference is None:
        return "Better together on held-out data"
    if winner.difference.interval[0] > 0:
        return "Better together than any single model"
    if winner.difference.value > 0:
        return "Ahead of the best single model, but within the noise"
    return "Ahead on held-out data, but not on test"


def heat_map(systems: Sequence[System], comparison: Comparison) -> dict[str, Any] | None:
    """Scores of every group for every system with a shade in [0, 1]; None without groups."""
    groups = list(dict.fromkeys(g for s in systems for g in s.result.groups))
    if not groups:
        return None
    values = [v for s in systems for v in s.result.groups.values()]
    low, span = min(values), (max(values) - min(values)) or 1.0
    lines = []
    for system in systems:
        cells = [system.result.groups.get(g) for g in groups]
        shaded = [None if v is None else (_group_score(comparison, v), (v - low) / span) for v in cells]
        lines.append((system.result.model, shaded))
    return {"groups": groups, "lines": lines}


def differing_answers(winner: System | None, reference: System) -> list[tuple[int, str, str, float, float]]:
    """(number, winner's answer, best single's answer, their scores) of the first examples on which they differ."""
    if winner is None or winner is reference:
        return []
    ours, theirs = winner.result, reference.result
    pairs = zip(ours.answers, theirs.answers, ours.scores, theirs.scores, strict=False)
    numbered = [(i, *pair) for i, pair in enumerate(pairs, 1) if pair[2] != pair[3]]
    return numbered[:MAX_ANSWERS]


def plain(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _compared(run: Run) -> Comparison:
    """On test, or on held-out data where there is no test; the winner appears once, under its subject's name.

    A single winner is the reference itself.
    """
    name, results = subject(run), list(run.test or run.singles)
    if name in {r.model for r in results}:
        results = [r for r in results if r.model in (name, *_names(run)) or r.model != run.winner.name]
    else:
        results = [replace(r, model=name) if r.model == run.winner.name else r for r in results]
    return compare(results, singles=_names(run), reference=name if run.is_single else None)


def _names(run: Run) -> list[str]:
    return [r.model for r in run.singles]


def _group_score(comparison: Comparison, value: float) -> float:
    """Groups hold the task's own score; in bits per byte they stay in nats a token."""
    return value if comparison.unit == "bits_per_byte" else shown_score(comparison, value)


def _marks(winner: str, comparison: Comparison, order: Sequence[int]) -> list[Mark]:
    marks = []
    for system in (comparison.systems[i] for i in order):
        name = system.result.model
        kind = "winner" if name == winner else "reference" if system.difference is None else "single"
        low, high = shown_interval(comparison, system.interval)
        marks.append(Mark(name, shown_score(comparison, system.score), low, high, kind))
    return marks


def _rank(candidate: Any) -> tuple[int, float]:
    order = {"kept": 0, "rejected": 1, "failed": 2}[candidate.status]
    score = candidate.held_out if candidate.held_out is not None else candidate.fit
    return order, -(score if score is not None else float("-inf"))
