"""What a compressor did to the prompt of an answer: tokens before and after, and what was removed, struck through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import joined, paragraph, tag
from consort.report.views.registry import view

MOST = 2_000
"""Characters that are shown."""


@view(title="compressed", on="answers")
def compression(report: Report, found: Mapping[str, Any]) -> Markup | None:
    """`details.compression` of an answer: {compressor, roles, tokens_before, tokens_after, shown: [[text, kept]]}."""
    if "tokens_before" not in found:
        return paragraph(f"{found.get('compressor')}: nothing to shorten ({found.get('roles')})", "note")
    told = f"{found['compressor']}: {found['tokens_after']} of {found['tokens_before']} tokens ({found['roles']})"
    pieces: list[object] = [paragraph(told, "note")]
    left, inside = MOST, []
    for text, kept in found.get("shown", []):
        if left <= 0:
            inside.append(" …")
            break
        inside.append(tag("span" if kept else "del", text[:left], dir="auto"))
        left -= len(text)
    return joined([*pieces, tag("div", joined(inside))] if inside else pieces)
