"""What a source's tokens are called: each vocabulary map by how well carried rows predict the pivot's next tokens.

    python benchmarks/fusion_maps.py [PIVOT SOURCE] [--texts FILE] [--documents N] [--k K]

PIVOT and SOURCE are model folders (`FOLDER:bytes` for a model whose tokens are bytes) of different tokenizers. Tokens
are counted on every second document of FILE (JSON lines with a `text`), rows are carried on the others. For the pivot's
positions that are aligned it prints: the probability of the token that came, the same after renormalisation, and the
cross entropy (nats) with what a row does not name spread evenly over the vocabulary and .001 of everything on top. Then
the same for an oracle, a source that is certain of its own next token. Without arguments: the real models of the shared
data, both ways, and two models of the lab.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from consort import lab
from consort.distil import Alignment, Document, align, fitted
from consort.distil.rows import Rows, read_rows
from consort.distil.translation import spelled_out, translated
from consort.models import HFModel, load_model

SHARED = Path(os.environ.get("CONSORT_SHARED", Path(__file__).parents[2] / "shared")) / "data"
MODELS, STORIES = SHARED / "models", SHARED / "eval" / "tinystories" / "stories.jsonl"
NAMES = ("exact", "min_edit", "official", "statistics", "statistics, spelled", "first_piece", "first_piece, spelled")
"""The maps; `spelled` as in `Alignment`."""
FLOOR = 1e-3


class Score:
    """Means over positions of probability, renormalised probability and cross entropy of the token that came."""

    def __init__(self, size: int) -> None:
        self.size, self.sums, self.count = size, np.zeros(3), 0

    def add(self, ids: np.ndarray, p: np.ndarray, label: np.ndarray) -> None:
        came, named = (p * (ids == label[:, None])).sum(1), p.sum(1)
        spread = (1 - FLOOR) * (came + np.maximum(1 - named, 0) / self.size) + FLOOR / self.size
        whole = np.divide(came, named, out=np.zeros_like(came), where=named > 0)
        self.sums += [came.sum(), whole.sum(), -np.log(spread).sum()]
        self.count += len(label)

    def __str__(self) -> str:
        mass, whole, ce = self.sums / max(self.count, 1)
        return f"{mass:8.3f} {whole:8.3f} {ce:8.3f}"


def oracle(rows: Rows, came: np.ndarray) -> Rows:
    """Rows that are certain of the token that came."""
    sure = np.zeros((len(rows), 1), np.float32)
    return replace(rows, ids=came[:, None], logp=sure, tail=sure[:, 0] - np.inf, ce=sure[:, 0])


def compared(
    pivot: HFModel, source: HFModel, counted: Sequence[Document], read: Sequence[Document], k: int, scratch: Path
) -> None:
    """Print the table of a pair."""
    ours, theirs = (read_rows(model, read, k, None) for model in (pivot, source))
    own, even = Score(pivot.tokenizer.vocab_size), Score(pivot.tokenizer.vocab_size)
    lines: list[tuple[str, Score, Score]] = []
    for name in NAMES:
        options = Alignment(map=name.partition(",")[0])
        known, at = (
            align(pivot.tokenizer, source.tokenizer, part, scratch / f"{options.map}-{kind}", options)
            for kind, part in (("counted", counted), ("read", read))
        )
        lines.append((name, Score(own.size), Score(own.size)))
        for document, mine, their in zip(read, ours, theirs, strict=True):
            partner = at.partners(document)
            have = np.flatnonzero(partner >= 0)
            label = document.spelled(pivot.tokenizer).ids[have + 1]
            sure = oracle(their, document.spelled(source.tokenizer).ids[1:])
            for score, rows in zip(lines[-1][1:], (their, sure), strict=True):
                spelled = (document.spelled(model.tokenizer) for model in (pivot, source))
                came = spelled_out(rows, partner[have], have, *spelled) if "spelled" in name else None
                ids, p, _ = translated(rows.take(partner[have]), known.ids, came)
                score.add(ids, p, label)
            if name == NAMES[0]:
                own.add(mine.ids[have], np.exp(mine.logp[have].astype(float)), label)
                even.add(mine.ids[have], np.full((len(have), k), 1 / k), label)
    total = sum(map(len, ours))
    print(f"\npivot {pivot.name}, source {source.name}: {own.count} of {total} positions ({own.count / total:.1%})")
    print(f"{'':20} {'mass':>8} {'of named':>8} {'ce':>8}   oracle: mass, of named, ce")
    print(f"{'the pivot itself':20} {own}\n{'its top k, evenly':20} {even}")
    for name, score, sure in lines:
        print(f"{name:20} {score}   {sure}", flush=True)


def opened(name: str) -> HFModel:
    folder, _, tokens = name.partition(":")
    path = lab.path(folder.removeprefix("lab/")) if folder.startswith("lab/") else Path(folder)
    return load_model(path, tokenizer=tokens or None, name=path.name)


def stories(file: Path) -> list[str]:
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [row["text"] if "text" in row else f"{row['prompt']} {row['target']}" for row in rows]


def run(pivot: str, source: str, texts: Sequence[str], k: int, documents: int) -> None:
    models = [opened(name) for name in (pivot, source)]
    whole = [Document(text, ((0, len(text.encode())),), whole=False) for text in texts]
    cut = fitted(whole, [model.tokenizer for model in models], 256)
    with tempfile.TemporaryDirectory() as scratch:
        compared(models[0], models[1], cut[::2], cut[1::2][:documents], k, Path(scratch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="PIVOT SOURCE")
    parser.add_argument("--texts", type=Path, default=STORIES)
    parser.add_argument("--documents", type=int, default=150)
    parser.add_argument("--k", type=int, default=10)
    given = parser.parse_args()
    report: Callable[..., None] = lambda a, b, texts: run(a, b, texts, given.k, given.documents)  # noqa: E731
    if given.models:
        report(*given.models, stories(given.texts))
        return
    llama, bytes_, ternary = (str(MODELS / name) for name in ("stories260K", "rwkv4-tiny:bytes", "bit-3M"))
    for pair in ((bytes_, ternary), (llama, bytes_)):
        report(*pair, stories(STORIES))
    facts = lab.path("tasks/facts") / "train.jsonl"
    lines = [json.loads(line) for line in facts.read_text("utf-8").splitlines()]
    for half in ("north", "south"):
        texts = [f"{row['prompt']} {row['target']}" for row in lines if row["group"] == half]
        report("lab/pivot", f"lab/teacher-{half}", texts)


if __name__ == "__main__":
    main()
