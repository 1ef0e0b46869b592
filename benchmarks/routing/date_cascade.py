"""E4: the mixture-of-thought cascade on cached answers of gpt-3.5-turbo and GPT-4 (DATE, 369 questions).

Usage: python benchmarks/routing/date_cascade.py [--seeds 20]

Cost := .15 for 14 samples of the weak model, in proportion for fewer, and the share that goes to the strong one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from consort.ensemble.after.mixture_of_thought import MixtureOfThought
from consort.ensemble.learning.observations import Observed
from consort.evaluate import plain_table
from consort.models import FakeModel

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CONSORT_SHARED", ROOT.parent / "shared")) / "data"
SETS = {
    "MoT-1D": ("cot1", "pot1"),
    "MoT-2D": ("cot1", "pot2"),
    "PoT-1D": ("pot1", "pot1_t=0.4"),
    "PoT-2D": ("pot1", "pot2"),
    "CoT-1D": ("cot1", "cot1_t=0.4"),
    "three styles": ("cot1", "pot1", "pot2"),
    "four styles": ("cot1", "cot2", "pot1", "pot2"),
}
PUBLISHED = (
    ("MoT-1D", "vote", 0.6, 7, "89.2 / 29.5"),
    ("MoT-1D", "vote", 0.7, 7, "89.7 / 33.1"),
    ("MoT-1D", "verify", 0.0, 7, "88.3 / 32.5"),
    ("MoT-2D", "vote", 0.6, 7, "88.9 / 29.5"),
    ("PoT-1D", "vote", 0.7, 10, "88.3 / 20.3"),
    ("PoT-2D", "vote", 0.8, 7, "88.9 / 25.2"),
    ("PoT-2D", "verify", 0.0, 7, "88.1 / 16.8"),
    ("CoT-1D", "vote", 1.0, 10, "86.7 / 56.4"),
)
WEAK_COST, FOLDS = 0.15, 5


def rows_of(part: str, name: str) -> list[dict[str, Any]]:
    path = SHARED / "ensemble" / "mot_cascade" / f"{part}_result" / f"{name}.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        found: list[dict[str, Any]] = json.load(file)
    return found


def observed(styles: tuple[str, ...], samples: int) -> Observed:
    """The first `samples` answers in each style, style by style, then the strong model's majority answer."""
    weak, strong = [rows_of("GPT3", f"date_{style}") for style in styles], rows_of("GPT4", "date_cot1")
    answers = [
        (*(text for rows in weak for text in rows[i]["results"][:samples]), row["prediction"])
        for i, row in enumerate(strong)
    ]
    quality = [[float(same(text, row["answer"])) for text in texts] for texts, row in zip(answers, strong, strict=True)]
    names = (*(f"{style}.{k}" for style in styles for k in range(samples)), "gpt-4")
    return Observed(names, tuple(row["question"] for row in strong), np.array(quality), tuple(answers))


def same(text: str | None, gold: str) -> bool:
    """Whether an answer is the right one, as a number where both are numbers."""
    try:
        return float(str(text)) == float(gold)
    except ValueError:
        return text == gold


def team(sets: str, samples: int, **options: Any) -> MixtureOfThought:
    styles = [f"{style}: {{prompt}}" for style in SETS[sets]]
    weak, strong = FakeModel(str, name="gpt-3.5-turbo"), FakeModel(str, name="gpt-4")
    return MixtureOfThought(weak, strong, styles=styles, samples=samples, **options)


def published() -> list[list[str]]:
    """The paper's rules, accuracy and escalated share."""
    lines = []
    for sets, rule, threshold, samples, wanted in PUBLISHED:
        replayed = team(sets, samples, rule=rule, threshold=threshold).replay(observed(SETS[sets], samples))
        escalated = np.mean([by >= 0 for by in replayed.answered_by])
        told = f"{sets} {rule}" + (f" {threshold:g}" if rule == "vote" else "")
        cost = WEAK_COST * len(SETS[sets]) * samples / 14 + escalated
        lines.append([told, shown(replayed.quality.mean()), shown(escalated), shown(cost), wanted])
    return lines


def learned(seeds: int) -> list[list[str]]:
    """The learned rule, cross-validated: mean over fold seeds, every question judged by a rule that has not seen it."""
    lines = []
    for sets, samples in (*((s, 7) for s in list(SETS)[:5]), ("three styles", 4), ("four styles", 3)):
        data = observed(SETS[sets], samples)
        for share in (0.2, 0.24):
            found = np.array([cross_validated(data, sets, samples, share, seed) for seed in range(seeds)])
            cost = WEAK_COST * len(SETS[sets]) * samples / 14 + found[:, 1]
            lines.append([
                f"{sets} learned, {share:.0%} of training", f"{shown(found[:, 0].mean())} ± {shown(found[:, 0].std())}",
                shown(found[:, 1].mean()), shown(cost.mean()), "",
            ])  # fmt: skip
    return lines


def cross_validated(data: Observed, sets: str, samples: int, share: float, seed: int) -> tuple[float, float]:
    """Accuracy and escalated share over all questions, each judged by the fold that lacks it."""
    fold = np.random.default_rng(seed).permutation(len(data)) % FOLDS
    quality, escalated = np.zeros(len(data)), np.zeros(len(data))
    for k in range(FOLDS):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        fitted = team(sets, samples, rule="learned", escalate=share).fit(data.rows(inside))
        replayed = fitted.replay(data.rows(outside))
        quality[outside], escalated[outside] = replayed.quality, [by >= 0 for by in replayed.answered_by]
    return float(quality.mean()), float(escalated.mean())


def singles() -> list[list[str]]:
    """Single models: the weak one's vote of 20, the strong one, and GPT-4 on GSM8K."""
    lines = []
    for told, part, name, wanted in (
        ("weak, vote of 20", "GPT3", "date_cot1", "64.50"),
        ("strong, vote of 3", "GPT4", "date_cot1", "88.62"),
        ("GPT-4 on GSM8K, greedy", "GPT4", "gsm_greedy_cot1", "95.00"),
        ("GPT-4 on GSM8K, vote of 3", "GPT4", "gsm_cot1", "95.75"),
    ):
        rows = rows_of(part, name)
        right = np.mean([same(row["prediction"], row["answer"]) for row in rows])
        lines.append([told, shown(right), "", "", wanted])
    return lines


def shown(share: float) -> str:
    return f"{100 * share:.2f}"


def main(seeds: int = 20) -> list[list[str]]:
    """Print one table and return its rows: what, accuracy, escalated, cost, published accuracy / escalated."""
    rows = singles() + published() + learned(seeds)
    print(plain_table([f"DATE, 369 questions, {seeds} fold seeds", "accuracy", "escalated", "cost", "spec"], rows))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    main(parser.parse_args().seeds)
