"""A run as one self-contained HTML file: every view of it in order, no external resource, every text escaped.

The only script is the page's own (tables that sort, filter and are saved); its hash stands in the page's policy, so no
other one runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError

from consort.core.errors import ConsortError
from consort.core.files import write_atomic
from consort.report.lead import headline_of, lead
from consort.report.model import Report
from consort.report.parts import paragraph, text
from consort.report.schema import Run, faults_of, read_run
from consort.report.views.registry import View, views

_LOG = logging.getLogger("consort.report")
REPORT_FILE = "report.html"
LEFT_TO_FILE = ("answers", "details")
"""What of each result is not repeated as JSON in the page: texts, which are in results.json."""

Section = tuple[str, str, Markup]
"""A section's id, heading and content."""


def render(folder: Path | str) -> str:
    """The HTML of a run folder's results.json. Raises BadData for a missing or damaged file."""
    run, raw = read_run(Path(folder))
    return render_run(run, raw)


def render_run(run: Run, raw: Mapping[str, Any]) -> str:
    """The HTML of a run, finished or not; `raw` is its JSON."""
    report = Report(run)
    task = run.task.name if run.task else ""
    about = f"on the task {task}" if task else f"of consort {run.verb}"
    return document(
        title=f"{task or run.verb} · consort report",
        about=about,
        headline=headline_of(report),
        lead=lead(report),
        sections=sections(report),
        data=numbers(raw),
        version=run.consort,
    )


def write_report(folder: Path | str, out: Path | str | None = None) -> Path:
    """Write `render(folder)` to `out`, by default report.html in the folder; returns where it is."""
    path = Path(out) if out is not None else Path(folder) / REPORT_FILE
    write_atomic(path, render(folder))
    return path


def sections(report: Report) -> list[Section]:
    """What each view shows of the run, in the order of the page; details that no view shows are named."""
    shown: list[Section] = []
    for one in sorted([*views("run"), *views("details")], key=lambda view: (view.order, view.name)):
        if one.on == "details" and one.name not in report.run.details:
            continue
        content = _content(one, report)
        if content:
            shown.append((one.name.replace("_", "-"), one.title, content))
    return shown


def _content(one: View, report: Report) -> Markup | None:
    """What a view shows; where it cannot read what it is given, why."""
    found = report.run.details.get(one.name) if one.on == "details" else None
    try:
        return one.show(report, found)
    except ValidationError as fault:
        reason = faults_of(fault)
    except (ConsortError, LookupError, TypeError, ValueError, AttributeError) as fault:
        reason = f"{type(fault).__name__}: {fault}"
    _LOG.warning("report: %s cannot be shown: %s", one.name, reason)
    return paragraph(f"This part cannot be shown: {reason}", "card note")


def document(
    *,
    title: str,
    about: str,
    headline: str,
    lead: Any,
    sections: Sequence[Section],
    data: Mapping[str, Any],
    version: str,
) -> str:
    """A whole page of sections."""
    here = files("consort.report")
    script = (here / "tables.js").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = text
    template = environment.from_string((here / "page.html.j2").read_text("utf-8"))
    return template.render(
        title=title,
        about=about,
        headline=headline,
        lead=lead,
        sections=sections,
        version=version,
        style=Markup((here / "style.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=embedded(data),
    )


def numbers(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a results.json: all but the texts of examples and answers."""
    found = {name: value for name, value in raw.items() if name != "examples"}
    for name in ("singles", "test"):
        if isinstance(found.get(name), list):
            found[name] = [{k: v for k, v in one.items() if k not in LEFT_TO_FILE} for one in found[name]]
    return found


def embedded(value: Any) -> Markup:
    """JSON that no text can break out of, for `<script type="application/json">`."""
    content = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(content.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
