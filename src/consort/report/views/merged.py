"""What a merge made: its method with all parameters, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import facts, tag
from consort.report.views.registry import view


@view(title="What was merged", order=37)
def merged(report: Report, found: Any) -> Markup | None:
    """`details.merged`: {folder, method, plan, tensors, bytes, dtype, ...}, a name and a value each."""
    if not isinstance(found, Mapping):
        raise TypeError("not a mapping")
    shown = [
        (str(name).replace("_", " "), tag("pre", str(value)) if name == "plan" else _text(value))
        for name, value in found.items()
        if value not in ("", None, [], {})
    ]
    return facts(shown, caption="By which method, of what size; the inputs stand below with their hashes")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if is_whole else f"{value:.6g}" if isinstance(value, float) else str(value)
