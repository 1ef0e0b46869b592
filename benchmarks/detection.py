"""Detectors on labelled answers: every detector that a set has the parts for, trivial ones first, beside their targets.

    python benchmarks/detection.py --data FOLDER [--models a,b] [--nli FOLDER] [--json FILE]

QAGS (sentences of summaries, three votes) and FRANK (14 cached scores of 2,246 summaries of nine systems; its articles
are not there). AUROC and AUPRC of wrong answers with 95 % intervals over whole articles; pooled and within each system;
length and the system's identity beside them; blends cross-fitted by article; seconds of processor per 1,000 sentences.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from consort.cooperate.detect import detectors
from consort.cooperate.detect.answers import Row
from consort.cooperate.detect.quality import auprc, auroc, folds_of, interval
from consort.models.detecting import Case

SETS = {"cnndm": ("QAGS CNN/DM", 0.817, 0.84), "xsum": ("QAGS XSum", 0.678, 0.72)}
FRANK = {"cnndm": ("FRANK CNN/DM test", 0.753, 0.78), "bbc": ("FRANK BBC test", 0.734, 0.76)}
OF_EACH_KIND = ("ngram_precision 1", "bertscore precision", "summac")
"""A detector of words, of an encoder and of an NLI checkpoint; which of its kind is best here is not looked for."""
CACHED = (
    "Rouge 1", "Rouge 2", "Rouge L", "Bleu", "Meteor", "BertScore P", "BertScore R", "BertScore F1", "BertScore P Art",
    "BertScore R Art", "BertScore F1 Art", "FactCC", "Dep Entail", "QAGS", "FEQA",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--models", default="", help="folders of small language models under DATA/models, by comma")
    parser.add_argument("--nli", default="", help="the folder of an NLI checkpoint")
    parser.add_argument("--encoder", action="store_true", help="with MiniLM (the extra `embed`)")
    parser.add_argument("--only", default="", help="cnndm or xsum: that part of QAGS alone; frank")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for name in SETS:
        if args.only in ("", name):
            found[SETS[name][0]] = qags(args, name)
    if args.only:
        return
    found |= {title: frank(args.data, name) for name, (title, *_) in FRANK.items()}
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))


def qags(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Every single detector on the sentences of one part of QAGS, and blends of them, cross-fitted."""
    title, gate, goal = SETS[name]
    rows = qags_rows(args.data / "detection" / "qags" / f"mturk_{name}.jsonl")
    wrong = np.array([not row.right for row in rows])
    groups = [row.group for row in rows]
    print(f"\n{title}: {len(rows)} sentences, {wrong.mean():.4f} wrong (base rate); gate {gate}, goal {goal}")
    singles = trivial() | (encoded() if args.encoder else {}) | local_models(args) | nli(args.nli)
    figures, columns = {}, {}
    for label, detector in singles.items():
        begun = process_time()
        doubts = np.array(
            [f.doubt if f.doubt is not None else 0.5 for f in detector.detect([row.case for row in rows])]
        )
        seconds = 1000 * (process_time() - begun) / len(rows)
        columns[label] = doubts
        figures[label] = told(label, doubts, wrong, groups, seconds=seconds)
    kinds = [c for c in columns if c in OF_EACH_KIND or c.startswith("context_change")]
    blends = {
        "blend of what needs no checkpoint": (list(trivial()), "logistic"),
        "blend of all": (list(columns), "logistic"),
        f"equal weights, one of each kind ({len(kinds)})": (kinds, "equal"),
    }
    for label, (chosen, way) in blends.items():
        doubts = cross_fitted([columns[c] for c in chosen], wrong, groups, by=way)
        figures[label] = told(f"{label}, cross-fitted", doubts, wrong, groups)
    return figures


def frank(data: Path, name: str) -> dict[str, Any]:
    """The cached scores of FRANK: each on the test split, and their blend fitted on the validation split."""
    title, gate, goal = FRANK[name]
    folder = data / "detection" / "frank"
    labels = {
        (r["hash"], r["model_name"]): r["Factuality"]
        for r in json.loads((folder / "human_annotations.json").read_text())
    }
    scores = json.loads((folder / "baseline_factuality_metrics_outputs.json").read_text())
    rows = [(r, labels[r["hash"], r["model_name"]]) for r in scores if r["dataset"] == name]
    fit, test = ([(r, y) for r, y in rows if r["split"] == split] for split in ("valid", "test"))
    wrong = np.array([y < 1 for _, y in test])
    systems, groups = [r["model_name"] for r, _ in test], [r["hash"] for r, _ in test]
    both = [(r, labels[r["hash"], r["model_name"]]) for r in scores if r["split"] == "valid"]
    columns = [c for c in CACHED if any(isinstance(r.get(c), int | float) for r, _ in fit)]
    print(f"\n{title}: {len(test)} summaries, {wrong.mean():.4f} wrong; gate {gate}, goal {goal}; fitted on {len(fit)}")
    cases = [frank_case(r, columns) for r, _ in test]
    figures = {}
    for column in columns:
        found = detectors.get("cached")(column).detect(cases)
        doubts = np.array([0.5 if f.doubt is None else f.doubt for f in found])
        figures[column] = told(column, doubts, wrong, groups, systems)
    shares = {s: np.mean([y < 1 for r, y in fit if r["model_name"] == s]) for s in set(systems)}
    figures["system"] = told("which system (share wrong, fit)", np.array([shares[s] for s in systems]), wrong, groups)
    ways = {way: (fit, "") for way in ("logistic", "isotonic", "equal")}
    ways["logistic, both data sets"] = (both, "dataset")
    for way, (rows, within) in ways.items():
        parts = [detectors.get("cached")(c) for c in columns]
        blend = detectors.get("blend")(parts, by=way.split(",")[0], within=within)
        learned = [frank_case(r, columns) for r, _ in rows]
        fitted, report = blend.fit(learned, [y < 1 for _, y in rows], [r["hash"] for r, _ in rows])
        doubts = np.array([f.doubt for f in fitted.detect(cases)])
        figures[f"blend {way}"] = told(f"blend, {way}, of {len(columns)}", doubts, wrong, groups, systems)
        best, crossed = report["best_single"], report["auroc_cross_fitted"]
        print(f"{'':38} on the fit split, cross-fitted, {crossed:.4f}; best single there {best}")
    return figures


def frank_case(row: dict[str, Any], columns: Sequence[str]) -> Case:
    """A summary with its cached scores, and the data set that it is of."""
    known = {c: row[c] for c in columns if row.get(c) is not None}
    return Case("summary", details={**known, "dataset": row["dataset"]})


def trivial() -> dict[str, Any]:
    """Detectors that need no checkpoint."""
    grams = {f"ngram_precision {n}": detectors.get("ngram_precision")(n=n) for n in (1, 2, 3, 4)}
    grams["ngram_precision 1 of 5 letters"] = detectors.get("ngram_precision")(n=1, letters=5)
    others = ("copy_length", "mismatch")
    return {"length": detectors.get("length")(), **grams, **{n: detectors.get(n)() for n in others}}


def encoded() -> dict[str, Any]:
    """BERTScore of MiniLM against the source."""
    make = detectors.get("bertscore")
    return {"bertscore": make(against="source"), "bertscore precision": make(against="source", of="precision")}


def local_models(args: argparse.Namespace) -> dict[str, Any]:
    """What small language models say: probability with the source, change by the source, perplexity without."""
    from consort.plan.build import model

    found = {}
    for name in filter(None, args.models.split(",")):
        one = model(args.data / "models" / name)
        found[f"context_change {name}"] = detectors.get("context_change")(one, most_words=120)
        found[f"perplexity {name}"] = detectors.get("perplexity")(one)
    return found


def nli(folder: str) -> dict[str, Any]:
    """What an NLI checkpoint says, where one is named."""
    return {name: detectors.get(name)(nli=folder) for name in ("alignscore", "summac")} if folder else {}


def qags_rows(path: Path) -> list[Row]:
    """A row for each sentence; right where most of three votes say so."""
    found = []
    for line in path.read_text().splitlines():
        document = json.loads(line)
        for sentence in document["summary_sentences"]:
            votes = [vote["response"] == "yes" for vote in sentence["responses"]]
            case = Case(sentence["sentence"], source=document["article"])
            found.append(Row(case, sum(votes) * 2 > len(votes), group=document["article"]))
    return found


def cross_fitted(
    columns: Sequence[np.ndarray], wrong: np.ndarray, groups: Sequence[str], folds: int = 5, by: Any = "logistic"
) -> np.ndarray:
    """Doubts of a blend of columns, each row's by a fit that has seen no sentence of its article."""
    cases = [Case("x", details={str(k): float(c[i]) for k, c in enumerate(columns)}) for i in range(len(wrong))]
    parts = [detectors.get("cached")(str(k), better=False) for k in range(len(columns))]
    fold, found = folds_of(groups, folds, 1), np.zeros(len(wrong))
    for f in range(folds):
        fit, out = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        fitted, _ = detectors.get("blend")(parts, by=by).fit(
            [cases[i] for i in fit], wrong[fit].tolist(), [groups[i] for i in fit]
        )
        found[out] = [finding.doubt for finding in fitted.detect([cases[i] for i in out])]
    return found


def told(
    label: str, doubts: np.ndarray, wrong: np.ndarray, groups: Sequence[str], systems: Sequence[str] = (),
    *, seconds: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The figures of one detector, printed on one line; within systems the mean over those of both kinds of answers."""
    figures: dict[str, Any] = {"auroc": auroc(doubts, wrong), "auprc": auprc(doubts, wrong)}
    figures["auroc_interval"] = interval(auroc, doubts, wrong, groups, draws=500)
    figures["auprc_interval"] = interval(auprc, doubts, wrong, groups, draws=500)
    line = f"{label:38}"
    for name in ("auroc", "auprc"):
        low, high = figures[f"{name}_interval"]
        line += f" {name.upper()} {figures[name]:.4f} [{low:.4f}, {high:.4f}] "
    if systems:
        own = {s: np.array([x == s for x in systems]) for s in sorted(set(systems))}
        within = {s: auroc(doubts[rows], wrong[rows]) for s, rows in own.items()}
        figures["within"] = within
        line += f"  within systems {np.nanmean(list(within.values())):.4f}"
    if seconds is not None:
        figures["seconds_per_1000"] = seconds
        line += f"  {seconds:7.2f} s / 1,000"
    print(line)
    sys.stdout.flush()
    return figures


if __name__ == "__main__":
    main()
