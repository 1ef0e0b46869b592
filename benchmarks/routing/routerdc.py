"""E1: one of seven open models for each query, eight data sets (RouterDC, 2409.19886, tables 1 and 2).

Usage: python benchmarks/routing/routerdc.py [--full] [--encoder minilm] [--steps 1000] [--sample N] [--routers NAME…]

`--full` fine-tunes an encoder by the losses of ZOOTER and RouterDC: on one core 3.4 s for a step, and three quarters of
an hour for the states of all queries; `--sample 150 --steps 50` needs a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consort.core.kinds import made
from consort.ensemble.before import before
from consort.ensemble.learning.observations import Observed, from_table
from consort.evaluate import plain_table
from consort.models import FakeModel
from consort.models.cached.model import open_table

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CONSORT_SHARED", ROOT.parent / "shared")) / "data"
TRAIN = {
    "mmlu": "mmlu_train",
    "gsm8k": "gsm8k-train",
    "cmmlu": "cmmlu_train",
    "arc": "arc_challenge_train",
    "humaneval": "humaneval_train",
}
INSIDE = {
    "mmlu": "mmlu_test",
    "gsm8k": "gsm8k-test",
    "cmmlu": "cmmlu_test",
    "arc": "arc_challenge_test",
    "humaneval": "humaneval_test",
}
OUTSIDE = {"prealgebra": "MATH_prealgebra", "mbpp": "mbpp", "ceval": "ceval"}
SCORED = {"gsm8k", "humaneval", "mbpp"}
"""Sets whose score is a share of right samples; elsewhere an answer is right where its score is above 0."""
ROUTERS: dict[str, dict[str, Any]] = {
    "random": {},
    "best_single": {},
    "category": {},
    "knn": {},
    "ridge": {"balanced": True},
    "cluster": {},
    "correctness": {},
    "zooter": {},
    "router_dc": {},
    "sw_ranking": {},
    "blend": {},
}
COLUMNS = ["router", *INSIDE, "ID", *OUTSIDE, "OOD", "seconds"]


def read(folder: Path, files: dict[str, str]) -> Observed:
    """All queries of some sets, the set their group."""
    parts = []
    for name, file in files.items():
        part = from_table(open_table(folder / f"{file}.json.gz"))
        right = part.quality if name in SCORED else (part.quality > 0).astype(float)
        parts.append(replace(part, quality=right, groups=(name,) * len(part)))
    joined = [sum((getattr(p, field) for p in parts), ()) for field in ("prompts", "groups")]
    return Observed(parts[0].models, joined[0], np.concatenate([p.quality for p in parts]), groups=joined[1])


def drawn(observed: Observed, most: int) -> Observed:
    """At most so many queries of each set, always the same ones; all of them for 0."""
    groups, rng = np.array(observed.groups), np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(groups == name))[: most or None] for name in dict.fromkeys(observed.groups)]
    return observed.rows(np.sort(np.concatenate(rows)))


def means(chosen: np.ndarray, observed: Observed) -> list[float]:
    """Percent of each set in order, and their mean."""
    got, groups = observed.quality[np.arange(len(observed)), chosen], np.array(observed.groups)
    each = [100 * float(got[groups == name].mean()) for name in dict.fromkeys(observed.groups)]
    return [*each, float(np.mean(each))]


def tables(
    data: Path = SHARED / "ensemble",
    full: bool = False,
    encoder: str = "minilm",
    steps: int = 1000,
    sample: int = 0,
    routers: Sequence[str] = (),
) -> list[tuple[str, list[str], list[list[str]]]]:
    """The table of this part: title, columns, rows; with `full` also rows on an encoder, frozen and fine-tuned.

    `sample`: at most so many queries of each set; `routers`: these alone.
    """
    folder = data / "routerdc" / "split2_model7"
    train, *tests = (drawn(read(folder, files), sample) for files in (TRAIN, INSIDE, OUTSIDE))
    rows = [baseline(name, *tests) for name in ("oracle", "oracle_dataset", "best single of the test sets")]
    wanted = {name: options for name, options in ROUTERS.items() if name in routers or not routers}
    rows += fitted_rows(wanted, "tfidf", train, tests)
    if full:
        rows += encoder_rows(encoder, steps, train, tests)
    published = [
        "RouterDC, published",
        *["61.07", "70.32", "51.77", "58.52", "51.02", "58.54", "38.81", "46.80", "51.93", "45.85"],
        "",
    ]
    part = f", at most {sample} queries of each set (published: all)" if sample else ""
    title = f"RouterDC data{part}: percent right; frozen TF-IDF features where nothing else is said, CPU seconds"
    return [(title, COLUMNS, [*rows, published])]


def fitted_rows(
    routers: dict[str, dict[str, Any]], features: str, train: Observed, tests: list[Observed], told: str = ""
) -> list[list[str]]:
    """What each router chooses on the test sets; the seconds are those of the features, of fitting, and of choosing.

    Each row is told on standard error as soon as it is known.
    """
    begun = time.process_time()
    texts = [text for part in tests for text in part.queries]
    encoder = made("features", features, "features").fitted(train.queries)
    encoder.rows(train.queries)
    encoder.rows(texts)
    shared = time.process_time() - begun
    models, rows = [FakeModel({}, name=name) for name in train.models], []
    for name, options in routers.items():
        begun = time.process_time()
        kind: Any = before.get(name)
        router = kind(models, **({"features": features} if kind.needs_features else {}), **options)
        if router.needs_fit:
            router = router.fit(train, seed=0, encoder=encoder)
        chosen = router.choose(texts)
        seconds = time.process_time() - begun + (shared if router.needs_features else 0)
        found = means(chosen[: len(tests[0])], tests[0]) + means(chosen[len(tests[0]) :], tests[1])
        rows.append([name + told, *(f"{value:.2f}" for value in found), f"{seconds:.0f}"])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    return rows


def encoder_rows(encoder: str, steps: int, train: Observed, tests: list[Observed]) -> list[list[str]]:
    """ZOOTER and RouterDC on the encoder as it is, and fine-tuned by the loss of each."""
    from consort.ensemble.routing.encoder_training import fine_tune

    tuned: dict[str, dict[str, Any]] = {"zooter": {}, "router_dc": {}}
    rows = fitted_rows({**tuned, "blend": {}}, encoder, train, tests, f", {Path(encoder).name} frozen")
    with tempfile.TemporaryDirectory() as place:
        for name in tuned:
            begun = time.process_time()
            folder = fine_tune(encoder, train, Path(place) / name, loss=name, steps=steps)  # type: ignore[arg-type]
            trained = time.process_time() - begun
            told = f", {Path(encoder).name} fine-tuned, {steps} steps"
            for row in fitted_rows({name: {}, "blend": {}}, str(folder), train, tests, told + f" by {name}'s loss"):
                rows.append([*row[:-1], f"{trained + float(row[-1]):.0f}"])
    return rows


def baseline(name: str, inside: Observed, outside: Observed) -> list[str]:
    """The best answer to each query, or of the best model of each set: what no router can know."""
    found: list[float] = []
    for observed in (inside, outside):
        chosen = observed.quality.argmax(1)
        if name == "oracle_dataset":
            groups = np.array(observed.groups)
            for group in dict.fromkeys(observed.groups):
                chosen[groups == group] = observed.quality[groups == group].mean(0).argmax()
        if name.startswith("best single"):
            singles = [means(np.full(len(inside), m), inside)[-1] for m in range(len(inside.models))]
            chosen[:] = int(np.argmax(singles))
        found += means(chosen, observed)
    return [name, *(f"{value:.2f}" for value in found), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="fine-tune an encoder as well")
    parser.add_argument("--encoder", default="minilm", help="minilm or a folder")
    parser.add_argument("--steps", type=int, default=1000, help="of fine-tuning, 32 queries each")
    parser.add_argument("--sample", type=int, default=0, help="at most so many queries of each set; default: all")
    parser.add_argument("--routers", nargs="+", choices=ROUTERS, default=[], help="default: all")
    given = parser.parse_args()
    for title, columns, rows in tables(**vars(given)):
        print(title, plain_table(columns, rows), sep="\n")


if __name__ == "__main__":
    main()
