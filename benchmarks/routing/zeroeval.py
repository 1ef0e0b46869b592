"""E3: votes, agreement cascades and gated ensembles on the cached GSM8K answers of 43 models (ZeroEval).

Usage: python benchmarks/routing/zeroeval.py [--seeds 20]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np

from consort.ensemble.after.agreement_cascade import AgreementCascade
from consort.ensemble.after.vote import Vote
from consort.ensemble.answers.reading import answer_codes
from consort.ensemble.answers.voting import order_of, vote_quality
from consort.ensemble.learning.fitting import lower_bound
from consort.ensemble.learning.observations import Observed
from consort.ensemble.readings.first_number import FirstNumber
from consort.evaluate import plain_table
from consort.models import FakeModel

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CONSORT_SHARED", ROOT.parent / "shared")) / "data"
READ = "first_number"
SMALL = (
    "gemma-2-9b-it", "Meta-Llama-3.1-8B-Instruct", "Phi-3.5-mini-instruct", "Qwen2-7B-Instruct",
    "Meta-Llama-3-8B-Instruct", "Yi-1.5-9B-Chat",
)  # fmt: skip
POOLS = {
    "all 43": (),
    "six small": SMALL,
    "one strong, five small": ("claude-3-5-sonnet-20241022", *SMALL[:5]),
    "one strong, three weak": (
        "gpt-4o-2024-08-06", "gemma-2-2b-it", "Mixtral-8x7B-Instruct-v0.1", "gpt-3.5-turbo-0125",
    ),
}  # fmt: skip
"""Members to choose from; in the last two plain voting loses."""


def observed(path: Path | None = None) -> Observed:
    """Every model's extracted answer and whether ZeroEval counts it as right."""
    with gzip.open(path or SHARED / "ensemble" / "zeroeval" / "gsm.jsonl.gz", "rt", encoding="utf-8") as lines:
        models = json.loads(next(lines))["models"]
        rows = [json.loads(line) for line in lines]
    return Observed(
        tuple(models),
        tuple(row["question"] for row in rows),
        np.array([[float(row["correct"][m]) for m in models] for row in rows]),
        tuple(tuple(row["answer"].get(m) for m in models) for row in rows),
    )


def votes(data: Observed) -> list[list[str]]:
    """Accuracy of votes of the best k models and of the first k small open ones, beside published figures."""
    codes, ranked = answer_codes(data, FirstNumber()), order_of(list(data.accuracy))
    small = [data.models.index(m) for m in SMALL]
    pools = [("all", ranked, 97.04)]
    pools += [(f"top {k}", ranked[:k], wanted) for k, wanted in ((3, 96.66), (5, 97.50), (9, 97.19))]
    pools += [(f"{k} small", small[:k], wanted) for k, wanted in ((3, 90.60), (5, 91.89), (6, 92.49))]
    lines = [[f"best single, {data.models[ranked[0]]}", shown(data.accuracy[ranked[0]]), "96.66", ""]]
    lines += [["query oracle", shown(data.quality.max(1).mean()), "99.62", ""]]
    for name, pool, wanted in pools:
        lines.append([f"vote of {name}", shown(vote_quality(codes, data.quality, pool).mean()), f"{wanted:.2f}", ""])
    return lines


def cascades(data: Observed) -> list[list[str]]:
    """Accuracy and share of strong calls where three small models disagree."""
    lines = []
    for strong, agree, wanted in (
        ("gpt-4o-2024-08-06", None, "95.98 / 28.43"),
        ("gpt-4o-2024-08-06", 2, "94.69 / 6.44"),
        ("Meta-Llama-3.1-70B-Instruct", None, "94.54 / 28.43"),
    ):
        part = data.columns([data.models.index(m) for m in (*SMALL[:3], strong)])
        members = [FakeModel(str, name=m) for m in part.models]
        replayed = AgreementCascade(members, agree=agree, answer=READ).replay(part)  # type: ignore[arg-type]
        share = np.mean([by == 3 for by in replayed.answered_by])
        told = f"{agree or 3} of 3 agree, else {strong} (alone {shown(part.accuracy[3])})"
        lines.append([told, shown(replayed.quality.mean()), wanted, shown(share)])
    return lines


def gated(data: Observed, seeds: int) -> list[list[str]]:
    """How often the gated vote is below the best single model, on the half that decides and on rows that nobody saw.

    Members are chosen on the fit half. First the other half decides and is reported, as the rule says. Then the other
    half is cut again, one part decides and the rest is new: there it is held against the single model that would have
    been returned instead.
    """
    lines = []
    for name, members in POOLS.items():
        part = data.columns([data.models.index(m) for m in members] or range(len(data.models)))
        plain = vote_quality(answer_codes(part, FirstNumber()), part.quality, order_of(list(part.accuracy))).mean()
        found = [one_seed(part, seed) for seed in range(seeds)]
        for rule in ("mean", "strict"):
            kept, gain, new = (np.array([f[rule][k] for f in found]) for k in range(3))
            lines.append([
                name, f"{100 * (plain - part.accuracy.max()):+.2f}", rule, f"{int(kept.sum())}/{seeds}",
                str(int((gain < -1e-12).sum())), f"{100 * gain.mean():+.2f}",
                str(int((new < -1e-12).sum())), f"{100 * new.mean():+.2f}", f"{100 * new.min():+.2f}",
            ])  # fmt: skip
    return lines


def one_seed(data: Observed, seed: int) -> dict[str, tuple[float, float, float]]:
    """By rule: whether the vote is kept, and its gain on the half that decides and on new rows."""
    fit, other = data.fit_and_held_out(seed)
    fitted = Vote([FakeModel(str, name=m) for m in data.models], answer=READ).fit(fit)  # type: ignore[arg-type]
    rows = np.random.default_rng(seed).permutation(len(other))
    deciding, new = other.rows(rows[::2]), other.rows(rows[1::2])
    found = {}
    for rule in ("mean", "strict"):
        kept, gain = _decided(fitted, other, other, rule, seed)
        found[rule] = (kept, gain, _decided(fitted, deciding, new, rule, seed)[1])
    return found


def _decided(fitted: Vote, deciding: Observed, shown_on: Observed, rule: str, seed: int) -> tuple[float, float]:
    """Whether the gate keeps the vote (1 or 0), and by how much what it returns is better than the best single."""
    single = deciding.best
    ours, theirs = fitted.replay(deciding).quality, deciding.quality[:, single]
    kept = (ours - theirs).mean() >= 0 and (rule == "mean" or lower_bound(ours, theirs, seed=seed) >= 0)
    there = fitted.replay(shown_on).quality - shown_on.quality[:, single]
    return float(kept), float(there.mean()) if kept else 0.0


def shown(share: float) -> str:
    return f"{100 * share:.2f}"


def main(seeds: int = 20) -> list[list[str]]:
    """Print three tables; returns the rows of the first two: what, accuracy, published, strong calls."""
    data = observed()
    rows = votes(data) + cascades(data)
    print(plain_table(["ZeroEval GSM8K, 1319 questions", "accuracy", "spec", "strong calls"], rows))
    heads = ["members", "plain vote", "gate", "kept", "below", "gain", "below, new rows", "gain", "least"]
    print(f"\nGated votes, {seeds} seeds; plain vote: of all members, against the best single; below: how many seeds\n")
    print(plain_table(heads, gated(data, seeds)))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    main(parser.parse_args().seeds)
