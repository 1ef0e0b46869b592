"""What was collected of a model on texts, or trained for a merge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import facts
from consort.report.views.registry import view


@view(title="What was collected", order=38)
def collected(report: Report, found: Any) -> Markup | None:
    """`details.collected`: {kind, model or models, texts or passages, tokens, ...}, a name and a value each."""
    if not isinstance(found, Mapping):
        raise TypeError("not a mapping")
    shown = [(str(name).replace("_", " "), _text(value)) for name, value in found.items() if value not in ("", None)]
    return facts(shown, caption="Of which model, on which texts")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}" if isinstance(value, float) else str(value)
