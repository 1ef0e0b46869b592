"""What detectors learn from: labelled doubts; a monotone map to probabilities, and a logistic combination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, BadParameter
from consort.models.detecting import Case

LEAST = 10
"""Labelled answers of either kind that fitting needs at least."""


class Learner(Protocol):
    """A detector that learns. `state` is the file of what it learned, which `values` holds once it is read."""

    name: str
    needs: tuple[str, ...]
    state: str

    def fit(self, cases: Sequence[Case], wrong: Sequence[bool], groups: Sequence[str], *, seed: int = 0) -> Any:
        """The same detector, which has learned, and a report of how good it is on answers that it had not seen."""


def check_labels(wrong: np.ndarray) -> None:
    """Raise BadData for labels that nothing can be learned from."""
    n, m = int(wrong.sum()), int((~wrong).sum())
    if min(n, m) < LEAST:
        hint = f"at least {LEAST} right and {LEAST} wrong answers, with a column `right`"
        raise BadData(f"{m} right and {n} wrong answers", field="answers", hint=hint)


def isotonic(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[list[float], list[float]]:
    """Knots of the least-squares map that never falls (pool adjacent violators); equal x are pooled first.

    Between knots the map is a straight line, beyond them constant: see `mapped`.
    """
    values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=y) / counts
    blocks: list[list[float]] = []  # mean, weight, first x, last x
    for v, m, c in zip(values.tolist(), means.tolist(), counts.tolist(), strict=True):
        blocks.append([m, float(c), v, v])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            b, a = blocks.pop(), blocks.pop()
            weight = a[1] + b[1]
            blocks.append([(a[0] * a[1] + b[0] * b[1]) / weight, weight, a[2], b[3]])
    knots = [(end, block[0]) for block in blocks for end in dict.fromkeys((block[2], block[3]))]
    return [k[0] for k in knots], [k[1] for k in knots]


def mapped(knots: tuple[Sequence[float], Sequence[float]], x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The values of a map given by its knots."""
    return np.asarray(np.interp(x, *knots))


def logistic(
    features: Float[np.ndarray, "n k"], y: Float[np.ndarray, " n"], penalty: float
) -> Float[np.ndarray, " k+1"]:
    """Weights, and the intercept last, of a logistic regression with penalty * |w|^2 / 2, by Newton's method."""
    x = np.hstack([features, np.ones((len(features), 1))])
    ridge = np.diag([penalty] * features.shape[1] + [1e-6])
    w = np.zeros(x.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (p - y) + ridge @ w
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, gradient)
        w = w - step
        if np.abs(step).max() < 1e-10:
            break
    return np.asarray(w)


def learned_values(detector: Any, kind: str) -> dict[str, Any]:
    """What a detector has learned, read from its state file at first use. Raises BadParameter where it has not."""
    if detector.values is None:
        if not detector.state:
            hint = "run `consort fit PLAN OUT --table ANSWERS.jsonl`, or fit(cases, wrong, groups) in Python"
            raise BadParameter("is not fitted", field=kind, hint=hint)
        detector.values = read_state(detector.state, kind)
    values: dict[str, Any] = detector.values
    return values


def read_state(path: str, kind: str) -> dict[str, Any]:
    """A state file of a detector. Raises BadData for a file that is missing, damaged, or another's."""
    import json
    from pathlib import Path

    try:
        head = json.loads(Path(path).read_text("utf-8"))
        own, values = head["kind"], dict(head["values"])
    except OSError:
        raise BadData(
            "no such state file", field=path, hint="it lies beside the plan that `consort fit` wrote"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise BadData("is no state of a detector", field=path, hint="fit the plan again") from None
    if own != kind:
        raise BadData(f"is the state of {own}, not of {kind}", field=path, hint="fit the plan again")
    return values
