"""Fit what a detector leaves open (a blend, a calibration) on labelled answers; write its plan, state and report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.cooperate.detect.answers import load_answers
from consort.core.errors import BadData, BadParameter
from consort.core.files import sha256_of, write_atomic, write_json
from consort.core.journal import Journal, key_of
from consort.core.results import write_results
from consort.data import dump_yaml
from consort.plan.build import Builder
from consort.plan.expression import Plan, dump, renamed
from consort.plan.reading import read_kind
from consort.plan.references import absolute

STATE_FILE = "state.json"


def fit_detector(
    plan: str | Path, out: str | Path, *, table: str | Path, seed: int = 0, force: bool = False,
    others: bool = False, allow_remote_code: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Fit the detector at the root of `plan` on the labelled rows of `table`, a file of answers.

    `out` gets plan.yml, state.json and results.json, the report. Raises BadParameter for a detector that learns
    nothing, BadData for labels that nothing can be learned from, OutputExists.
    """
    read = read_kind(plan, "detector")
    detector = Builder(read.seed, allow_remote_code).build(read.root, "detector")
    if not hasattr(detector, "fit"):
        hint = "blend: {detectors: […]} or calibrated: {detector: …}"
        raise BadParameter(f"{detector.name} has nothing to fit", field=str(plan), hint=hint)
    rows = [row for row in load_answers(Path(table), others=others) if row.right is not None]
    if not rows:
        raise BadData("no row tells what is right", field=str(table), hint="a column `right`: true or false")
    folder = Path(out)
    journal = Journal(folder, key_of([dump(read), sha256_of(Path(table)), seed, others]), force=force)
    journal.open()
    with journal.discarded_if_refused():
        wrong = [not row.right for row in rows]
        fitted, report = detector.fit([row.case for row in rows], wrong, [row.group for row in rows], seed=seed)
    write_json(folder / STATE_FILE, {"kind": detector.name, "values": fitted.values})
    learned = replace(read.root, arguments={**read.root.arguments, "state": STATE_FILE})  # type: ignore[union-attr,arg-type]
    write_atomic(
        folder / "plan.yml", dump_yaml({"seed": read.seed, "plan": dump(renamed(Plan(learned), absolute).root)})
    )
    told = {"kept": True, "detector": detector.name, "data": str(table), **report}
    write_results(folder, "fit", {"seed": seed, "details": {"fit": told}})
    return told
