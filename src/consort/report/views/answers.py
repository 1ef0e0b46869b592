"""Prompt, target and every system's answer side by side, with who gave it and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from consort.core.counted import counted
from consort.evaluate.comparison import System
from consort.report.model import Report
from consort.report.parts import Cell, joined, paragraph, table, tag
from consort.report.views.registry import view, views
from consort.report.views.who import answerer

MAX_EXAMPLES = 200
MAX_TEXT = 3_000
"""Characters of a text that are shown; the whole is in results.json."""


@view(title="Answers side by side", on="run", order=50)
def answers(report: Report, found: None) -> Markup | None:
    """One line for each example, those first on which systems differ; nothing where no answers were kept."""
    systems = _ordered(report)
    if not systems:
        return None
    count = len(systems[0].result.answers)
    scores = [system.result.scores for system in systems]
    order = sorted(range(count), key=lambda i: (len({row[i] for row in scores}) < 2, i))
    shown = order[:MAX_EXAMPLES]
    differ = sum(len({row[i] for row in scores}) > 1 for i in range(count))
    titles: list[object] = ["example"]
    if report.examples:
        titles += [*(["group"] if any(e.group for e in report.examples) else []), "prompt", "target"]
    for system in systems:
        titles += [system.result.model, Cell("score", csv=f"score: {system.result.model}")]
    rows = [_line(report, systems, scores, i) for i in shown]
    caption = f"On {differ} of {counted(count, 'example')} the systems' scores differ; those come first."
    more = f" The first {len(shown)} are shown, all are in results.json." if len(shown) < count else ""
    lacking = [] if report.examples else [paragraph("Prompts were not kept by this run.", "note")]
    whole = table(titles, rows, caption=caption + more, name="answers", classes="answers tall")
    return joined([*lacking, whole])


def _ordered(report: Report) -> list[System]:
    """The winner, the one it is compared with, then the others, as far as their answers were kept."""
    first = [s for s in (report.winner, report.reference) if s is not None]
    others = [s for s in report.ranked if all(s is not one for one in first)]
    kept = [s for s in dict.fromkeys([id(s) for s in [*first, *others]])]
    by_id = {id(s): s for s in report.ranked}
    return [by_id[i] for i in kept if by_id[i].result.answers]


def _line(report: Report, systems: Sequence[System], scores: Sequence[Sequence[float]], i: int) -> list[object]:
    line: list[object] = [Cell(str(i + 1), i)]
    if i < len(report.examples):
        example = report.examples[i]
        if any(e.group for e in report.examples):
            line.append(Cell(example.group or "–", kind="text narrow"))
        line += [_text(example.prompt), _text(example.target)]
    elif report.examples:
        line += [None] * (3 if any(e.group for e in report.examples) else 2)
    for system, row in zip(systems, scores, strict=True):
        line += [_answer(report, system, i), Cell(f"{row[i]:.2f}", row[i], kind="right" if row[i] >= 1 else "")]
    return line


def _text(whole: str) -> Cell:
    return Cell(tag("div", _cut(whole), dir="auto"), whole[:200], csv=whole, kind="text")


def _answer(report: Report, system: System, i: int) -> Cell:
    result = system.result
    answer = result.answers[i]
    details = result.details[i] if i < len(result.details) else {}
    parts: list[object] = [tag("div", _cut(answer), dir="auto")]
    if by := answerer(details):
        parts.append(tag("div", f"by {by}", class_="note"))
    for one in views("answers"):
        if one.name in details:
            shown = one.show(report, details[one.name])
            if shown:
                parts.append(
                    tag("div", joined([tag("span", one.title, class_="beside-name"), " ", shown]), class_="beside")
                )
    return Cell(joined(parts), answer[:200], csv=answer, kind="text")


def _cut(whole: str) -> str:
    return whole if len(whole) <= MAX_TEXT else whole[:MAX_TEXT] + " …"
