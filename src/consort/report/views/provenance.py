"""Where a result comes from: versions, seed, task, and the content of every input by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import Cell, facts, folded, joined, table, tag
from consort.report.views.registry import view


@view(title="Where it comes from", on="run", order=90)
def provenance(report: Report, found: None) -> Markup | None:
    """What the result depends on; of each input the hash of its weights' content, where it was computed."""
    run = report.run
    pairs: list[tuple[str, Any]] = [("consort", run.consort), ("verb", run.verb), ("seed", str(run.seed))]
    if run.task is not None:
        content = joined([", content ", tag("code", run.task.key)]) if run.task.key else ""
        pairs.append(("task", joined([f"{run.task.name}, metric {run.task.metric}", content])))
    versions = run.provenance.get("versions")
    if isinstance(versions, Mapping):
        pairs.append(("versions", ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())))
    return facts(pairs, caption="What the result depends on") + _inputs(run.provenance.get("inputs"))


def _inputs(inputs: Any) -> Markup:
    """One line for each input: its name, its hashes, and all else that is known of it."""
    if not isinstance(inputs, list) or not inputs:
        return Markup("")
    rows = []
    for entry in inputs:
        known = entry if isinstance(entry, Mapping) else {"name": entry}
        rest = {k: v for k, v in known.items() if k not in ("name", "weights_sha256", "sha256")}
        more = joined(tag("span", joined([f"{k} ", tag("code", _plain(v))]), class_="pair") for k, v in rest.items())
        files = known.get("sha256")
        if isinstance(files, Mapping):
            lines = [tag("div", joined([f"{name} ", tag("code", digest)])) for name, digest in files.items()]
            more += folded(f"SHA-256 of {len(lines)} parts of files", joined(lines))
        elif files:
            more += tag("span", joined(["sha256 ", tag("code", files)]), class_="pair")
        weights = known.get("weights_sha256")
        rows.append(
            [
                str(known.get("name", "–")),
                Cell(tag("code", weights) if weights else None, csv=str(weights or ""), kind="text"),
                Cell(more, kind="text"),
            ]
        )
    caption = "Inputs; equal hashes of weights are equal weights, whatever the files are called or cut into"
    return table(
        ["input", "SHA-256 of the weights", "what else is known"],
        rows,
        caption=caption,
        name="inputs",
        classes="inputs",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else value
