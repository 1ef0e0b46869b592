"""Answers that a detector has judged: sentences coloured by doubt, their evidence, and how good the doubts are."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from pydantic import BaseModel

from consort.core.counted import counted
from consort.report.model import Report
from consort.report.parts import Cell, folded, joined, number, paragraph, shaded, table, tag
from consort.report.views.registry import view

MOST = 200
"""Answers that are shown, those doubted most first; all are in results.json."""


class Told(BaseModel):
    """A piece of evidence as it was written down."""

    text: str
    source: str = ""
    score: float = 0.0


class Part(BaseModel):
    """A span of an answer."""

    start: int
    end: int
    doubt: float | None = None
    evidence: list[Told] = []


class Judged(BaseModel):
    """An answer with what was found."""

    line: int
    answer: str
    doubt: float | None
    right: bool | None = None
    model: str = ""
    spans: list[Part] = []
    revised: str | None = None
    notes: list[str] = []


@view(title="Answers and their doubts", order=45)
def checked(report: Report, found: Any) -> Markup:
    """`details.checked`: {detector, answers: [...], quality: {pooled, models}}, as `consort check --out` writes it."""
    rows = sorted((Judged(**one) for one in found["answers"]), key=lambda row: (-(row.doubt or 0.0), row.line))
    unknown = sum(row.doubt is None for row in rows)
    head = f"{counted(len(rows), 'answer')} judged by {found['detector']}, those doubted most first"
    head += f"; of {unknown} nothing can be said." if unknown else "."
    titles = ["line", "model", "doubt", "right", "answer", "evidence"]
    body = [_line(row) for row in rows[:MOST]]
    whole = table(titles, body, caption=head, name="checked", classes="answers tall")
    return joined([*_quality(found.get("quality")), whole])


def _line(row: Judged) -> list[object]:
    right = "–" if row.right is None else "yes" if row.right else "no"
    quotes = [
        paragraph(f"{q.source + ': ' if q.source else ''}{q.text}") for span in row.spans for q in span.evidence[:2]
    ]
    evidence = folded(counted(len(quotes), "quotation"), joined(quotes)) if quotes else "; ".join(row.notes) or "–"
    answer = coloured(row.answer, row.spans, row.doubt)
    if row.revised is not None:
        answer = joined([answer, paragraph(f"Revised: {row.revised}", "note")])
    return [
        Cell(str(row.line), row.line),
        row.model or "–",
        Cell(number(row.doubt), row.doubt or -1.0),
        right,
        answer,
        evidence,
    ]


def coloured(text: str, spans: list[Part], doubt: float | None) -> Markup:
    """The text, its spans coloured by their doubt; the whole by the answer's where it has no spans."""
    parts: list[Markup] = []
    at = 0
    for span in sorted(spans, key=lambda one: one.start) or [Part(start=0, end=len(text), doubt=doubt)]:
        begin, end = max(at, min(span.start, len(text))), min(span.end, len(text))
        if end <= begin:
            continue
        parts.append(tag("span", text[at:begin]))
        words = text[begin:end]
        known = span.doubt is not None
        parts.append(shaded(words, span.doubt or 0.0, f"doubt {number(span.doubt)}") if known else tag("span", words))
        at = end
    return joined([*parts, tag("span", text[at:])])


def _quality(found: Any) -> list[Markup]:
    """How good the doubts are, where the file told what is right."""
    if not found:
        return []
    rows = [("pooled", found["pooled"]), *sorted(found.get("models", {}).items())]
    titles = ["answers of", "count", "wrong", "AUROC", "95 %", "length alone", "AUPRC", "95 %"]
    body = [
        [
            name,
            Cell(str(one["answers"]), one["answers"]),
            number(one["wrong"]),
            number(one["auroc"]),
            _interval(one["auroc_interval"]),
            number(one["auroc_of_length"]),
            number(one["auprc"]),
            _interval(one["auprc_interval"]),
        ]
        for name, one in rows
    ]
    caption = "How well doubts tell wrong answers; the share wrong is the base rate of AUPRC."
    return [table(titles, body, caption=caption, name="detection")]


def _interval(pair: Any) -> str:
    low, high = pair
    return f"{number(low)} to {number(high)}"
