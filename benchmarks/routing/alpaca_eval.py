"""E5: rankers and consensus on cached answers to AlpacaEval 2 (805 instructions, eight models, raw win rate).

Usage: python benchmarks/routing/alpaca_eval.py [--seeds 2] [--embed]

Every method has its mean length beside it: the judge likes long answers, and longest is the baseline to beat.
`--embed` adds consensus by sentence vectors (minutes).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consort.ensemble.after.linear_ranker import LinearRanker
from consort.ensemble.answers.text_similarity import UTILITIES, consensus, embedding
from consort.ensemble.learning.observations import Observed
from consort.evaluate import plain_table
from consort.models import FakeModel

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CONSORT_SHARED", ROOT.parent / "shared")) / "data"
MODELS, FOLDS = 8, 5
QUICK = ("unigram_recall", "unigram_precision", "unigram_f1", "tfidf", "rouge_l")
PUBLISHED = {"unigram_recall": "19.48", "unigram_precision": "7.99", "tfidf": "12.58 (another TF-IDF)"}


def observed() -> Observed:
    """Texts of the first eight models and the probability that each beats the baseline."""
    parts = []
    for name in ("outputs_12_models", "winprob_matrix"):
        with gzip.open(SHARED / "ensemble" / "alpaca_eval" / f"{name}.json.gz", "rt", encoding="utf-8") as file:
            parts.append(json.load(file))
    texts, wins = parts[0]["outputs"], parts[1]["winprob"]
    models = list(texts)[:MODELS]
    return Observed(
        tuple(models),
        tuple(parts[0]["instructions"]),
        np.array([wins[m] for m in models]).T,
        tuple(zip(*(texts[m] for m in models), strict=True)),
    )


def row(name: str, data: Observed, chosen: Sequence[int] | np.ndarray, wanted: str = "") -> list[str]:
    at = np.arange(len(data)), np.asarray(chosen)
    lengths = np.array([[len(text or "") for text in texts] for texts in data.answers])
    return [name, f"{100 * data.quality[at].mean():.2f}", f"{lengths[at].mean():.0f}", wanted]


def ranked(data: Observed, seed: int) -> list[int]:
    """Who the fitted ranker would choose, every instruction judged by the fold that lacks it."""
    fold = np.random.default_rng(seed).permutation(len(data)) % FOLDS
    chosen = np.zeros(len(data), dtype=int)
    ranker = LinearRanker([FakeModel(str, name=m) for m in data.models])
    for k in range(FOLDS):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        chosen[outside] = ranker.fit(data.rows(inside)).replay(data.rows(outside)).answered_by
    return chosen.tolist()


def main(seeds: int = 2, embed: bool = False) -> list[list[str]]:
    """Print one table and return its rows: what, win rate, mean length in characters, published win rate."""
    data = observed()
    texts = [[text or "" for text in answers] for answers in data.answers]
    lengths = np.array([[len(text) for text in answers] for answers in texts])
    n, best = len(data), data.best
    rows = [["random", f"{100 * data.quality.mean():.2f}", f"{lengths.mean():.0f}", "13.20"]]
    rows += [row(f"best single, {data.models[best]}", data, [best] * n, "17.19")]
    rows += [row("longest", data, lengths.argmax(1), "18.14")]
    for name in QUICK:
        chosen = [consensus(UTILITIES[name](answers)) for answers in texts]
        rows.append(row(f"MBR, {name}", data, chosen, PUBLISHED.get(name, "")))
    if embed:
        rows.append(row("MBR, embedding", data, [consensus(embedding(answers)) for answers in texts]))
    runs = [row("linear ranker", data, ranked(data, seed)) for seed in range(seeds)]
    wins, length = ([float(r[k]) for r in runs] for k in (1, 2))
    told = f"linear ranker, {FOLDS} folds, {seeds} seeds"
    rows.append([told, f"{np.mean(wins):.2f} ± {np.std(wins):.2f}", f"{np.mean(length):.0f}", ""])
    rows.append(row("oracle", data, data.quality.argmax(1)))
    print(plain_table([f"AlpacaEval 2, {MODELS} models", "win %", "mean length", "spec"], rows))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--embed", action="store_true")
    given = parser.parse_args()
    main(given.seeds, given.embed)
