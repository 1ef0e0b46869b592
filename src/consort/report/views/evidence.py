"""What was looked up for an answer: each piece with its source, the query's words marked, and whether it was cited."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, TypeAdapter

from consort.core.counted import counted
from consort.report.model import Report
from consort.report.parts import folded, joined, paragraph, shaded, tag, text
from consort.report.views.registry import view

MAX_TEXT, MAX_PIECES = 1200, 20


class Piece(BaseModel):
    """One piece of evidence as an answer tells it."""

    model_config = ConfigDict(extra="ignore")

    id: str
    text: str
    source: str = ""
    score: float = 0.0
    query: str = ""


PIECES = TypeAdapter(list[Piece])


@view(title="Evidence", on="answers")
def evidence(report: Report, found: Any) -> Markup | None:
    """`details.evidence` of an answer: [{id, text, source, score, query}], folded away under the answer."""
    pieces = PIECES.validate_python(found)
    if not pieces:
        return None
    shown = joined(_piece(i, piece) for i, piece in enumerate(pieces[:MAX_PIECES], 1))
    return folded(f"{counted(len(pieces), 'piece')} of evidence", shown)


def _piece(number: int, piece: Piece) -> Markup:
    head = tag("b", f"[{number}] {piece.source or piece.id}")
    body = piece.text[:MAX_TEXT] + ("…" if len(piece.text) > MAX_TEXT else "")
    return joined(
        [
            paragraph(joined([head, text(f" · {piece.id} · score {piece.score:.4g}")])),
            paragraph(marked(body, piece.query)),
        ]
    )


def marked(body: str, query: str) -> Markup:
    """The text with the words of the query shaded; words of one or two letters are not."""
    wanted = {word.lower() for word in re.findall(r"\w{3,}", query)}
    parts = re.split(r"(\w+)", body)
    return joined(shaded(part, 0.6) if part.lower() in wanted else text(part) for part in parts)
