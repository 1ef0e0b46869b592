"""E2: Mixtral-8x7B or GPT-4 for each question of GSM8K (RouteLLM, 2406.18665), five-fold within the data.

Usage: python benchmarks/routing/routellm.py [--seeds 20] [--routers NAME…]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from consort.ensemble.before import before
from consort.ensemble.features.ngrams import Tfidf, gram_counts
from consort.ensemble.learning.observations import Observed, from_table
from consort.ensemble.routing.cost_quality import apgr, cpt
from consort.ensemble.routing.features import Encoder, Rows
from consort.ensemble.routing.linear import folds_of, ridge
from consort.evaluate import plain_table
from consort.models import FakeModel
from consort.models.cached.model import open_table

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CONSORT_SHARED", ROOT.parent / "shared")) / "data"
STRONG, WEAK = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
PUBLISHED = {"random": ".508", "length": ".598", "word ridge": ".611", "perfect order": "1.115"}
FEW = 3
"""Fold seeds of routers that train for seconds; the others take all."""
ROUTERS: dict[str, tuple[dict[str, Any], bool]] = {
    "length": ({}, False),
    "knn": ({}, True),
    "ridge": ({}, True),
    "correctness": ({}, True),
    "cluster": ({"clusters": 16}, True),
    "zooter": ({}, True),
    "hybrid": ({}, True),
    "win_classifier": ({}, True),
    "sw_ranking": ({}, True),
    "mf": ({"epochs": 30, "rate": 0.003}, True),
    "router_dc": ({"steps": 300}, True),
    "blend": ({}, False),
}


def observed(folder: Path | None = None) -> Observed:
    """The questions, without those that the training data of public models is known to hold."""
    folder = folder or SHARED / "ensemble" / "routellm" / "gsm8k"
    data = from_table(open_table(folder / "gsm8k_responses.csv.gz"), [STRONG, WEAK])
    lines = (folder / "contaminated_prompts.jsonl").read_text("utf-8").splitlines()
    seen = {json.loads(line)["eval_prompt"] for line in lines}
    return data.rows([i for i, prompt in enumerate(data.prompts) if prompt not in seen])


Score = Callable[[Observed, Observed, Encoder], np.ndarray]
"""Of queries to fit on, of queries to judge, and features that are fitted on the first."""


def by_router(name: str, options: dict[str, Any]) -> Score:
    """How much more the strong model is worth, as a router fitted on the first queries says of the second."""

    def score(fit: Observed, rest: Observed, encoder: Encoder) -> np.ndarray:
        strong, weak = (FakeModel({}, name=model) for model in fit.models)
        is_pair = any(p.name == "strong" for p in before.entry(name).params)
        router = before.get(name)(*((strong, weak) if is_pair else ([strong, weak],)), **options)
        scores = router.fit(fit, seed=0, encoder=encoder).scores(rest.queries)
        return np.asarray(scores[:, 0] - scores[:, 1])

    return score


def word_ridge(fit: Observed, rest: Observed, _: Encoder) -> np.ndarray:
    """The trivial learned router: ridge regression of the gain on words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
    gain = fit.quality[:, :1] - fit.quality[:, 1:]
    weight, intercept = ridge(words.fit_transform(fit.queries), gain, 10.0)
    return np.asarray(words.transform(rest.queries) @ weight + intercept)[:, 0]


@dataclass(slots=True)
class Row:
    """What a router has said of every query, a list for each fold seed, and the CPU seconds that it took."""

    scores: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0


def out_of_fold(jobs: Mapping[str, Score], data: Observed, seed: int, grams: Rows) -> dict[str, Row]:
    """The score of every query by routers that were fitted on the other four folds; all share a fold's features."""
    fold, found = folds_of(len(data), seed), {name: Row([np.zeros(len(data))]) for name in jobs}
    for f in range(5):
        inside, outside = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        fit, rest = data.rows(inside), data.rows(outside)
        encoder = Tfidf.fitted(fit.queries, grams[inside])
        encoder.remember(rest.queries, grams[outside])
        for name, score in jobs.items():
            begun = time.process_time()
            found[name].scores[0][outside] = score(fit, rest, encoder)
            found[name].seconds += time.process_time() - begun
    return found


def figures(scores: list[np.ndarray], data: Observed) -> list[float]:
    """Means over seeds: APGR by deciles and exact, CPT 20, 50, 80 in percent."""
    pair = data.quality[:, 0], data.quality[:, 1]
    rows = [
        [apgr(s, *pair, points="deciles"), apgr(s, *pair), *(100 * cpt(s, *pair, p) for p in (0.2, 0.5, 0.8))]
        for s in scores
    ]
    return np.mean(rows, 0).tolist()


def tables(seeds: int = 20, routers: Sequence[str] = ()) -> list[tuple[str, list[str], list[list[str]]]]:
    """The table of this part: title, columns, rows; with `routers` these alone."""
    data = observed()
    gain = data.quality[:, 0] - data.quality[:, 1]
    draws = [np.random.default_rng(seed).random(len(data)) for seed in range(200)]
    found = {"random": Row(draws), "perfect order": Row([gain])}
    jobs = {"word ridge": word_ridge} | {name: by_router(name, options) for name, (options, _) in ROUTERS.items()}
    jobs = {name: job for name, job in jobs.items() if name in routers or not routers}
    grams = gram_counts(data.queries)
    for seed in range(seeds):
        wanted = {name: job for name, job in jobs.items() if seed < FEW or not ROUTERS.get(name, ({}, False))[1]}
        for name, part in out_of_fold(wanted, data, seed, grams).items():
            row = found.setdefault(name, Row())
            row.scores, row.seconds = row.scores + part.scores, row.seconds + part.seconds
    rows = []
    for name, row in found.items():
        values = figures(row.scores, data)
        told = [*(f"{v:.3f}" for v in values[:2]), *(f"{v:.1f}" for v in values[2:])]
        rows.append([name, *told, PUBLISHED.get(name, ""), str(len(row.scores)), f"{row.seconds:.0f}"])
    columns = ["router", "APGR deciles", "APGR exact", "CPT20", "CPT50", "CPT80", "known", "seeds", "seconds"]
    title = f"RouteLLM GSM8K, {len(data)} questions, five-fold; default features, whose time is shared and not counted"
    return [(title, columns, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--routers", nargs="+", choices=ROUTERS, default=[], help="default: all")
    arguments = parser.parse_args()
    for title, columns, rows in tables(arguments.seeds, arguments.routers):
        print(title, plain_table(columns, rows), sep="\n")


if __name__ == "__main__":
    main()
