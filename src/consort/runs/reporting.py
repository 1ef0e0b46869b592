"""The report of any run folder, finished or not, and of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consort.core.files import check_place, write_atomic
from consort.report.page import REPORT_FILE, render_run
from consort.report.schema import checked_run
from consort.report.several import render_several
from consort.runs.status import document_of


def report(folders: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of a run, or of several side by side, to `out`, by default report.html in the first folder.

    Returns where it is. Raises BadData for a folder that is no run's, or whose results cannot be read.
    """
    raws = [document_of(folder) for folder in folders]
    runs = [checked_run(raw, Path(folder)) for raw, folder in zip(raws, folders, strict=True)]
    path = Path(out) if out is not None else Path(folders[0]) / (REPORT_FILE if len(runs) == 1 else "comparison.html")
    html = render_run(runs[0], raws[0]) if len(runs) == 1 else render_several(runs, [_name(f) for f in folders])
    check_place(path)
    write_atomic(path, html)
    return path


def _name(folder: str | Path) -> str:
    path = Path(folder)
    return path.name or path.resolve().name or str(path)
