"""How well two fine-tunes may merge, told from their changes before anything is merged: several signals, no one score.

Signals of a pair are means over its linear maps, weighted by the number of their entries, with the worst map beside
them. Publications disagree on which signal tells most (arXiv 2601.22285, 2601.09473), so none is made a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter, Incompatible
from consort.core.params import Range
from consort.core.progress import track
from consort.weights.checkpoint import Checkpoint
from consort.weights.decomposition import Decomposition, decompose
from consort.weights.matrices import matrices_of
from consort.zoo.families import architecture_families

LARGER_IS_BETTER: Mapping[str, bool] = {
    "cosine": True,
    "sign_conflict": False,
    "norm_ratio": True,
    "overlap_left": True,
    "overlap_right": True,
    "alignment": True,
    "interference": False,
}
"""The signals, and whether more of one speaks for merging."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Of the pair of models `a` and `b` (numbers): each signal's mean, and the map where it is worst with its value."""

    a: int
    b: int
    mean: Mapping[str, float]
    worst: Mapping[str, tuple[str, float]]


def of_deltas(
    one: Float[Tensor, "out in"], other: Float[Tensor, "out in"], *, rank: Annotated[int, Range(1, inf)] = 16
) -> dict[str, float]:
    """The signals of two changes of one map; of a change of zero none is defined but the norm ratio, 0.

    `cosine`; `sign_conflict`, the share of entries that both changed, in different directions; `norm_ratio`, the
    shorter over the longer; `overlap_left`, `overlap_right` = ‖U_1^T U_2‖² / k of the first k directions of outputs and
    inputs; `alignment` = Σ s_a s_b |u_a·u_b| |v_a·v_b| / (‖s‖ ‖s'‖); `interference` of these directions as a share of
    their singular values, 1 for copies.
    """
    dot, lengths = float((one.double() * other).sum()), [float(d.double().norm()) for d in (one, other)]
    if not all(lengths):
        return {"norm_ratio": 0.0}
    product = one.double() * other
    first, second = (decompose(d, rank) for d in (one, other))
    return {
        "cosine": dot / lengths[0] / lengths[1],
        "sign_conflict": float((product < 0).sum() / (product != 0).sum().clamp(min=1)),
        "norm_ratio": min(lengths) / max(lengths),
        **_of_directions(first, second),
    }


def _of_directions(first: Decomposition, second: Decomposition) -> dict[str, float]:
    left, right = first.u.mT @ second.u, first.vt @ second.vt.mT
    k = max(len(first.s), len(second.s))
    aligned = first.s[:, None] * second.s * left.abs() * right.abs()
    return {
        "overlap_left": float(left.square().sum()) / k,
        "overlap_right": float(right.square().sum()) / k,
        "alignment": float(aligned.sum() / (first.s.norm() * second.s.norm())),
        "interference": interference((first, second)) / float(first.s.sum() + second.s.sum()),
    }


def interference(tasks: Sequence[Decomposition]) -> float:
    """‖(U^T U - I) diag(S) (V^T V - I)‖_1 of the directions of all tasks side by side: 0 where tasks do not meet.

    Singular task interference of TSV-M (arXiv 2412.00081).
    """
    u, vt = torch.cat([one.u for one in tasks], 1), torch.cat([one.vt for one in tasks])
    s, same = torch.cat([one.s for one in tasks]), torch.eye(len(vt), dtype=vt.dtype)
    return float((((u.mT @ u - same) * s) @ (vt @ vt.mT - same)).abs().sum())


def shape_of(delta: Float[Tensor, "out in"]) -> dict[str, float]:
    """A change's effective rank exp(H(s / Σs)), entropy in nats, and its stable rank ‖D‖² / s_1²."""
    s = decompose(delta).s
    if not len(s):
        return {"effective_rank": 0.0, "stable_rank": 0.0}
    share = s / s.sum()
    return {
        "effective_rank": float(torch.exp(-(share * share.log()).sum())),
        "stable_rank": float(s.square().sum() / s[0].square()),
    }


def mergeability(
    models: Sequence[Checkpoint], base: Checkpoint, *, rank: Annotated[int, Range(1, inf)] = 16
) -> list[Signals]:
    """The signals of every pair of `models`, fine-tunes of `base`; one map of all models is in memory at a time.

    Raises Incompatible for models of another architecture than the base, BadParameter for fewer than two.
    """
    if len(models) < 2:
        raise BadParameter("there is no pair", field="models", hint="give two or more")
    if len(groups := architecture_families([base, *models])) > 1:
        odd = [models[i - 1].name for i in groups[1]]
        raise Incompatible(f"another architecture than {base.name}", field=odd[0], hint="compare one family at a time")
    maps = [name for name in base.keys() if matrices_of(name, base.spec(name).shape, base.config).kind == "matrix"]
    pairs = [(a, b) for a in range(len(models)) for b in range(a + 1, len(models))]
    found: dict[tuple[int, int], list[tuple[str, int, dict[str, float]]]] = {pair: [] for pair in pairs}
    with track("comparing changes", len(maps)) as advance:
        for name in maps:
            below, layout = base[name].float(), matrices_of(name, base.spec(name).shape, base.config)
            stack = torch.stack([model[name].float() - below for model in models])
            for part, deltas in enumerate(d for expert in layout.split(stack) for d in expert):
                label = name if part == 0 else f"{name} ({part})"
                for a, b in pairs:
                    found[a, b].append((label, deltas[0].numel(), of_deltas(deltas[a], deltas[b], rank=rank)))
            advance(1)
    return [_of_pair(a, b, rows) for (a, b), rows in found.items()]


def _of_pair(a: int, b: int, rows: Sequence[tuple[str, int, Mapping[str, float]]]) -> Signals:
    mean, worst = {}, {}
    for signal, larger in LARGER_IS_BETTER.items():
        known = [(label, size, values[signal]) for label, size, values in rows if signal in values]
        if known:
            mean[signal] = sum(size * value for _, size, value in known) / sum(size for _, size, _ in known)
            label, _, value = (min if larger else max)(known, key=lambda row: row[2])
            worst[signal] = (label, value)
    return Signals(a, b, mean, worst)


def to_json(found: Sequence[Signals], names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs as JSON, by the models' names, to six digits."""
    return [
        {
            "models": [names[one.a], names[one.b]],
            "mean": {k: round(v, 6) for k, v in one.mean.items()},
            "worst": {k: {"map": m, "value": round(v, 6)} for k, (m, v) in one.worst.items()},
        }
        for one in found
    ]
