"""`consort check`: how far answers are to be doubted, and how good that is where the file tells what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.options import Debug, Force, Json, RemoteCode, Seed, named_path
from consort.cli.output import note, print_json, print_table, warnings_so_far


def check(
    answers: Annotated[
        Path, typer.Argument(metavar="ANSWERS", parser=named_path("ANSWERS"), help='JSON lines of {"answer": …}.')
    ],
    detector: Annotated[
        str, typer.Option("--detector", metavar="PLAN", help="A plan file, a detector's name, or an expression.")
    ],
    others: Annotated[
        bool, typer.Option("--others", help="Samples are other models' answers to the same prompt and source.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", parser=named_path("--out"), help="A run folder; resumable.")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Doubt of every answer of a file; AUROC and AUPRC with intervals where it tells what is right."""
    from consort.core.visible import visible
    from consort.runs.check import check as run
    from consort.runs.check import document

    checked = run(
        answers, detector, out=out, others=others, seed=seed, force=force, allow_remote_code=allow_remote_code
    )
    if json:
        findings = [document(finding) for finding in checked.findings]
        print_json({**checked.summary, "findings": findings, "warnings": warnings_so_far()})
        return
    rows = [_row(row, finding, visible) for row, finding in zip(checked.rows, checked.findings, strict=True)]
    print_table(("line", "doubt", "most doubted", "note"), rows, numbers=False)
    _tell(checked.summary)


def _row(row: Any, finding: Any, visible: Any) -> tuple[str, ...]:
    """One line of the table: the place, the doubt, and the sentence that is doubted most."""
    spans = [span for span in finding.spans if span.doubt is not None]
    worst = max(spans, key=lambda span: span.doubt, default=None)
    text = row.case.answer[worst.start : worst.end] if worst else row.case.answer
    shown = " ".join(visible(text).split())
    shown = shown if len(shown) <= 70 else shown[:69] + "…"
    doubt = "not known" if finding.doubt is None else f"{finding.doubt:.4f}"
    return (str(row.line), doubt, shown, "; ".join(finding.notes))


def _tell(summary: dict[str, Any]) -> None:
    """What there is to say of all, on stderr: it is not the result."""
    note(f"{summary['judged']} judged, {summary['not_judged']} not; {summary['seconds']:.1f} s")
    for name, usage in summary["cost"].items():
        note(f"cost of {name}: {usage['calls']} calls, {usage['prompt_tokens'] + usage['completion_tokens']} tokens")
    quality = summary.get("quality")
    if quality is None:
        return
    for name, figures in {"pooled": quality["pooled"], **quality.get("models", {})}.items():
        if figures["auroc"] is None:
            note(f"{name}: {figures['answers']} answers of one kind: no AUROC")
            continue
        low, high = figures["auroc_interval"]
        note(
            f"{name}: AUROC {figures['auroc']:.4f} [{low:.4f}, {high:.4f}], length alone "
            f"{figures['auroc_of_length']:.4f}; AUPRC {figures['auprc']:.4f}, base rate {figures['wrong']:.4f}"
        )
    if quality.get("model_identity_auroc") is not None:
        note(f"who answered, alone: AUROC {quality['model_identity_auroc']:.4f}")
