"""Judge a file of answers by a detector: doubts, and how good they are where the file tells what is right.

With an output folder every finding is in its journal: a killed run goes on, and a second one asks nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from consort.cooperate.detect.answers import Row, load_answers
from consort.cooperate.detect.base import bounded
from consort.cooperate.detect.quality import auprc, auroc, calibration_error, interval
from consort.cooperate.detect.sentences import sentences
from consort.cooperate.detect.words import words_of
from consort.core.files import sha256_of
from consort.core.journal import Journal, key_of
from consort.core.progress import track
from consort.core.results import write_results
from consort.core.types import Usage, add_cost
from consort.models.detecting import Doubted, Finding, Quote
from consort.plan.build import Builder
from consort.plan.expression import dump
from consort.plan.reading import read_kind

BATCH = 64


@dataclass(frozen=True, slots=True)
class Checked:
    """The rows, a finding for each, and the summary."""

    rows: list[Row]
    findings: list[Finding]
    summary: dict[str, Any]


def check(
    answers: str | Path,
    detector: str | Path,
    *,
    out: str | Path | None = None,
    others: bool = False,
    seed: int = 0,
    force: bool = False,
    allow_remote_code: bool = False,
) -> Checked:
    """Judge every answer of a file by the detector that a plan (a file, a name or an expression) describes.

    `others`: the samples of a row are other models' answers to the same prompt and source. `out` is a folder for the
    journal and results.json. Raises BadData, BadParameter, UnknownName, OutputExists.
    """
    plan = read_kind(detector, "detector")
    rows = load_answers(Path(answers), others=others)
    built = Builder(plan.seed, allow_remote_code).build(plan.root, "detector")
    journal = None
    found: dict[int, Finding] = {}
    if out is not None:
        key = key_of([dump(plan), sha256_of(Path(answers)), others])
        journal = Journal(Path(out), key, force=force, sound=_is_record)
        found = {record["row"]: _finding(record["finding"]) for record in journal.open()}
    begun = perf_counter()
    if journal is None:
        _judge(built, rows, found, None)
    else:
        with journal.discarded_if_refused():
            _judge(built, rows, found, journal)
    findings = [found[i] for i in range(len(rows))]
    summary = summarised(built, rows, findings, seed=seed, seconds=perf_counter() - begun)
    if journal is not None:
        told = [_told(r, f) for r, f in zip(rows, findings, strict=True)]
        write_results(journal.folder, "check", {"seed": seed, "details": {"checked": {**summary, "answers": told}}})
    return Checked(rows, findings, summary)


def summarised(
    detector: Any, rows: Sequence[Row], findings: Sequence[Finding], *, seed: int = 0, seconds: float = 0.0
) -> dict[str, Any]:
    """How many were judged and at what cost; where labels are given, how good the doubts are, pooled and by model.

    Length is beside the detector always, for a detector that does not beat it is worth nothing.
    """
    known = [i for i, finding in enumerate(findings) if finding.doubt is not None]
    notes: dict[str, int] = {}
    for finding in findings:
        for note in finding.notes:
            notes[note] = notes.get(note, 0) + 1
    cost = add_cost(*(finding.cost for finding in findings))
    count = sum(max(1, len(sentences(row.case.answer))) for row in rows)
    summary: dict[str, Any] = {
        "detector": detector.name,
        "judged": len(known),
        "not_judged": len(rows) - len(known),
        "notes": notes,
        "mean_doubt": float(np.mean([findings[i].doubt for i in known])) if known else None,
        "cost": {name: asdict(usage) for name, usage in cost.items()},
        "seconds": seconds,
        "seconds_per_1000_sentences": 1000 * seconds / max(1, count),
    }
    labelled = [i for i in known if rows[i].right is not None]
    if labelled:
        doubts = np.array([findings[i].doubt for i in labelled], dtype=float)
        summary["quality"] = _quality([rows[i] for i in labelled], doubts, seed)
    return summary


def _quality(rows: Sequence[Row], doubts: np.ndarray, seed: int) -> dict[str, Any]:
    wrong = np.array([not row.right for row in rows])
    length = np.array([bounded(len(words_of(row.case.answer)) / 50) for row in rows])
    found: dict[str, Any] = {"pooled": _figures(doubts, length, wrong, [row.group for row in rows], seed)}
    models = sorted({row.model for row in rows})
    if len(models) > 1:
        found["models"] = {}
        for model in models:
            mine = np.array([row.model == model for row in rows])
            groups = [row.group for row in rows if row.model == model]
            found["models"][model] = _figures(doubts[mine], length[mine], wrong[mine], groups, seed)
        shares = {model: float(np.mean([not r.right for r in rows if r.model == model])) for model in models}
        found["model_identity_auroc"] = _plain(auroc(np.array([shares[row.model] for row in rows]), wrong))
    return found


def _figures(
    doubts: np.ndarray, length: np.ndarray, wrong: np.ndarray, groups: Sequence[str], seed: int
) -> dict[str, Any]:
    return {
        "answers": len(wrong),
        "wrong": float(wrong.mean()),
        "auroc": _plain(auroc(doubts, wrong)),
        "auroc_interval": [_plain(x) for x in interval(auroc, doubts, wrong, groups, seed=seed)],
        "auprc": _plain(auprc(doubts, wrong)),
        "auprc_interval": [_plain(x) for x in interval(auprc, doubts, wrong, groups, seed=seed)],
        "auroc_of_length": _plain(max(auroc(length, wrong), 1 - auroc(length, wrong))),
        "calibration_error": calibration_error(doubts, wrong),
    }


def _plain(value: float) -> float | None:
    """The number; None for NaN, which JSON does not have."""
    return None if np.isnan(value) else float(value)


def _judge(detector: Any, rows: Sequence[Row], found: dict[int, Finding], journal: Journal | None) -> None:
    """Judge what is not in `found` yet; all rows in one call but where a journal keeps the parts."""
    left = [i for i in range(len(rows)) if i not in found]
    size = BATCH if journal is not None else max(1, len(left))
    with track(f"judging by {detector.name}", len(left)) as advance:
        for start in range(0, len(left), size):
            part = left[start : start + size]
            for i, finding in zip(part, detector.detect([rows[i].case for i in part]), strict=True):
                found[i] = finding
                if journal is not None:
                    journal.append({"row": i, "finding": document(finding)})
            advance(len(part))


def document(finding: Finding) -> dict[str, Any]:
    """A finding as plain values."""
    return {
        "doubt": finding.doubt,
        "raw": finding.raw,
        "spans": [asdict(span) for span in finding.spans],
        "revised": finding.revised,
        "notes": list(finding.notes),
        "cost": {name: asdict(usage) for name, usage in finding.cost.items()},
    }


def _told(row: Row, finding: Finding) -> dict[str, Any]:
    head = {"line": row.line, "answer": row.case.answer, "right": row.right, "model": row.model}
    return {**head, **document(finding)}


def _finding(record: Mapping[str, Any]) -> Finding:
    spans = tuple(
        Doubted(**{**span, "evidence": tuple(Quote(**quote) for quote in span["evidence"])}) for span in record["spans"]
    )
    cost = {name: Usage(**usage) for name, usage in record["cost"].items()}
    return Finding(record["doubt"], record["raw"], spans, record["revised"], tuple(record["notes"]), cost)


def _is_record(record: Mapping[str, Any]) -> bool:
    try:
        _finding(record["finding"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return isinstance(record.get("row"), int)
