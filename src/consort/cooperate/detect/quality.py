"""How good doubts are: AUROC and AUPRC with intervals, calibration error, folds that keep groups together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

Doubts = Float[np.ndarray, " n"]
Wrong = Bool[np.ndarray, " n"]


def auroc(doubts: Doubts, wrong: Wrong) -> float:
    """P(a wrong answer is doubted more than a right one), ties half; NaN where all are right or all wrong."""
    n, m = int(wrong.sum()), int((~wrong).sum())
    if not n or not m:
        return float("nan")
    return float((_ranks(doubts)[wrong].sum() - n * (n + 1) / 2) / (n * m))


def auprc(doubts: Doubts, wrong: Wrong) -> float:
    """Average precision of wrong answers, tied doubts taken together; its base rate is the share that is wrong."""
    if not wrong.any():
        return float("nan")
    order = np.argsort(-doubts, kind="stable")
    d, w = doubts[order], wrong[order].astype(float)
    last = np.append(np.flatnonzero(np.diff(d)), len(d) - 1)
    hits = np.cumsum(w)[last]
    precision, recall = hits / (last + 1), hits / hits[-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))


def interval(
    figure: Callable[[Doubts, Wrong], float], doubts: Doubts, wrong: Wrong, groups: Sequence[str] = (),
    *, seed: int = 0, draws: int = 1000, level: float = 0.95,
) -> tuple[float, float]:  # fmt: skip
    """The central bootstrap interval; whole groups are drawn where answers of one source belong together."""
    rng = np.random.default_rng(seed)
    names = np.unique(np.asarray(groups or np.arange(len(doubts)).astype(str)), return_inverse=True)[1]
    members = [np.flatnonzero(names == g) for g in range(names.max() + 1)] if len(names) else []
    found = []
    for _ in range(draws):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        value = figure(doubts[rows], wrong[rows])
        if not np.isnan(value):
            found.append(value)
    if not found:
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def calibration_error(doubts: Doubts, wrong: Wrong, bins: int = 10) -> float:
    """Expected calibration error: |mean doubt - share wrong| over equal bins of [0, 1], weighted by their size."""
    place = np.minimum((doubts * bins).astype(int), bins - 1)
    sums = [abs(float(doubts[place == b].sum()) - float(wrong[place == b].sum())) for b in range(bins)]
    return sum(sums) / max(1, len(doubts))


def folds_of(groups: Sequence[str], folds: int, seed: int = 0) -> np.ndarray:
    """The fold of each row, from 0; rows of one group share it. Groups are dealt in the order of their hashes."""
    names = sorted(dict.fromkeys(groups), key=lambda g: hashlib.blake2b(f"{seed}:{g}".encode(), digest_size=8).digest())
    place = {name: i % folds for i, name in enumerate(names)}
    return np.array([place[g] for g in groups])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])
