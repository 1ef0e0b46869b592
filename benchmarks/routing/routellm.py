"""E2: Mixtral-8x7B or GPT-4 for each question of GSM8K (RouteLLM, 2406.18665), five-fold within the data.

Usage: python benchmarks/routing/routellm.py [--seeds 20]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from consort.ensemble.before import before
from consort.ensemble.before.linear import folds_of, ridge
from consort.ensemble.curves import apgr, cpt
from consort.ensemble.observed import Observed, from_table
from consort.evaluate import plain_table
from consort.models import FakeModel
from consort.models.table import open_table

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


Score = Callable[[Observed, Observed], np.ndarray]


def by_router(name: str, options: dict[str, Any]) -> Score:
    """How much more the strong model is worth, as a router fitted on the first queries says of the second."""

    def score(fit: Observed, rest: Observed) -> np.ndarray:
        strong, weak = (FakeModel({}, name=model) for model in fit.models)
        is_pair = any(p.name == "strong" for p in before.entry(name).params)
        router = before.get(name)(*((strong, weak) if is_pair else ([strong, weak],)), **options)
        scores = router.fit(fit, seed=0).scores(rest.queries)
        return np.asarray(scores[:, 0] - scores[:, 1])

    return score


def word_ridge(fit: Observed, rest: Observed) -> np.ndarray:
    """The trivial learned router: ridge regression of the gain on words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
    gain = fit.quality[:, :1] - fit.quality[:, 1:]
    weight, intercept = ridge(words.fit_transform(fit.queries), gain, 10.0)
    return np.asarray(words.transform(rest.queries) @ weight + intercept)[:, 0]


def out_of_fold(score: Score, data: Observed, seed: int) -> np.ndarray:
    """The score of every query by a router that was fitted on the other four folds."""
    fold, found = folds_of(len(data), seed), np.zeros(len(data))
    for f in range(5):
        unseen = np.flatnonzero(fold == f)
        found[unseen] = score(data.rows(np.flatnonzero(fold != f)), data.rows(unseen))
    return found


def figures(scores: list[np.ndarray], data: Observed) -> list[float]:
    """Means over seeds: APGR by deciles and exact, CPT 20, 50, 80 in percent."""
    pair = data.quality[:, 0], data.quality[:, 1]
    rows = [
        [apgr(s, *pair, points="deciles"), apgr(s, *pair), *(100 * cpt(s, *pair, p) for p in (0.2, 0.5, 0.8))]
        for s in scores
    ]
    return np.mean(rows, 0).tolist()


def tables(seeds: int = 20) -> list[tuple[str, list[str], list[list[str]]]]:
    """The table of this part: title, columns, rows."""
    data = observed()
    gain = data.quality[:, 0] - data.quality[:, 1]
    draws = [np.random.default_rng(seed).random(len(data)) for seed in range(200)]
    found = [("random", figures(draws, data), 200, 0.0), ("perfect order", figures([gain], data), 1, 0.0)]
    jobs = {name: (by_router(name, options), few) for name, (options, few) in ROUTERS.items()}
    for name, (score, few) in {"word ridge": (word_ridge, False), **jobs}.items():
        begun, count = time.process_time(), min(FEW, seeds) if few else seeds
        found.append(
            (name, figures([out_of_fold(score, data, seed) for seed in range(count)], data), count,
             time.process_time() - begun)
        )  # fmt: skip
    rows = [
        [name, *(f"{v:.3f}" for v in values[:2]), *(f"{v:.1f}" for v in values[2:]), PUBLISHED.get(name, ""), str(n),
         f"{seconds:.0f}"]
        for name, values, n, seconds in found
    ]  # fmt: skip
    columns = ["router", "APGR deciles", "APGR exact", "CPT20", "CPT50", "CPT80", "known", "seeds", "seconds"]
    return [(f"RouteLLM GSM8K, {len(data)} questions, five-fold; default features", columns, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    arguments, _ = parser.parse_known_args()
    for title, columns, rows in tables(arguments.seeds):
        print(title, plain_table(columns, rows), sep="\n")


if __name__ == "__main__":
    main()
