"""Several detectors as one: a weighted mean, or a calibrated combination that `consort fit` finds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import clipped
from consort.cooperate.detect.learned.fitting import check_labels, isotonic, learned_values, logistic, mapped
from consort.cooperate.detect.quality import auroc, folds_of
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.core.types import Usage, add_cost
from consort.models.detecting import Case, Detector, Doubted, Finding

FOLDS = 5
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Of the logistic weights; the largest is taken whose cross-fitted AUROC is within `NEAR` of the best."""
NEAR = 0.005
QUANTILES = 64


@detector(example={"detectors": ["length", "length"], "weights": [1.0, 1.0]})
class Blend:
    """The doubt of several detectors. With `weights` their weighted mean; else what fitting found.

    Fitted, each doubt becomes a normal score by its quantile among the fit's answers (`by: logistic`), or the share of
    wrong answers at its quantile (`isotonic`); a logistic regression weighs them. A doubt that is not known counts as
    the middle one. `details` has the parts. The report of a fit has the cross-fitted AUROC, and the best single
    detector's beside it.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        *,
        weights: Sequence[Annotated[float, Range(0, 1000000)]] = (),
        by: Literal["logistic", "isotonic"] = "logistic",
        state: str = "",
    ) -> None:
        self.detectors, self.weights, self.by, self.state = tuple(detectors), tuple(weights), by, state
        self.needs = tuple(dict.fromkeys(need for one in self.detectors for need in one.needs))
        if weights and (len(weights) != len(self.detectors) or not sum(weights)):
            message = f"{len(weights)} weights for {len(self.detectors)} detectors"
            raise BadParameter(message, field="weights", hint="one for each, not all 0; or none, and fit")
        self.values: dict[str, Any] | None = None

    def detect(self, cases: Sequence[Case]) -> list[Finding]:
        if not self.weights:
            learned_values(self, "blend")
        parts = [one.detect(cases) for one in self.detectors]
        rows = [[f[i].doubt for f in parts] for i in range(len(cases))]
        doubts = self._means(rows) if self.weights else self._fitted(_table(rows)).tolist()
        return [self._finding([f[i] for f in parts], doubts[i]) for i in range(len(cases))]

    def fit(
        self, cases: Sequence[Case], wrong: Sequence[bool], groups: Sequence[str], *, seed: int = 0
    ) -> tuple[Blend, dict[str, Any]]:
        """The fitted detector, and how good it and each part are on folds that the fit had not seen."""
        parts = [one.detect(cases) for one in self.detectors]
        table = _table([[f[i].doubt for f in parts] for i in range(len(cases))])
        y = np.array(wrong, dtype=bool)
        check_labels(y)
        folds = folds_of(groups, FOLDS, seed)
        crossed = {penalty: self._crossed(table, y, folds, penalty) for penalty in PENALTIES}
        penalty = _chosen({p: auroc(crossed[p], y) for p in PENALTIES})
        fitted = copy.copy(self)
        fitted.values = self._learned(table, y, penalty)
        fitted.weights = ()
        singles = {name: auroc(np.nan_to_num(table[:, k], nan=0.5), y) for k, name in enumerate(self._names())}
        report = {
            "answers": len(y),
            "wrong": float(y.mean()),
            "auroc_cross_fitted": auroc(_nested(self, table, y, folds), y),
            "auroc_of_each": singles,
            "best_single": max(singles, key=lambda name: singles[name]),
            "penalty": penalty,
        }
        return fitted, report

    def _crossed(self, table: np.ndarray, y: np.ndarray, folds: np.ndarray, penalty: float) -> np.ndarray:
        found = np.zeros(len(y))
        for fold in np.unique(folds):
            out = folds == fold
            found[out] = self._applied(self._learned(table[~out], y[~out], penalty), table[out])
        return found

    def _learned(self, table: Float[np.ndarray, "n k"], y: np.ndarray, penalty: float) -> dict[str, Any]:
        maps = [self._map(table[:, k], y) for k in range(table.shape[1])]
        features = np.stack([mapped(knots, table[:, k]) for k, knots in enumerate(maps)], 1)
        features = np.where(np.isnan(table), 0.0, features)
        weights = logistic(features, y.astype(float), penalty)
        return {"maps": [[list(knots[0]), list(knots[1])] for knots in maps], "weights": weights.tolist()}

    def _map(self, column: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
        known = ~np.isnan(column)
        if not known.any():
            return [0.0], [0.0]
        if self.by == "isotonic":
            x, values = isotonic(column[known], y[known].astype(float))
            middle = float(y[known].mean())
            return x, [4 * (v - middle) for v in values]
        return _normal_scores(column[known])

    def _fitted(self, table: np.ndarray) -> np.ndarray:
        return self._applied(learned_values(self, "blend"), table)

    def _applied(self, values: Mapping[str, Any], table: np.ndarray) -> np.ndarray:
        columns = [mapped((x, y), table[:, k]) for k, (x, y) in enumerate(values["maps"])]
        features = np.where(np.isnan(table), 0.0, np.stack(columns, 1))
        weights = np.array(values["weights"])
        return np.asarray(1 / (1 + np.exp(-(features @ weights[:-1] + weights[-1]))))

    def _means(self, rows: Sequence[Sequence[float | None]]) -> list[float | None]:
        found: list[float | None] = []
        for row in rows:
            known = [(d, w) for d, w in zip(row, self.weights, strict=True) if d is not None]
            total = sum(w for _, w in known)
            found.append(clipped(sum(d * w for d, w in known) / total) if total else None)
        return found

    def _finding(self, parts: Sequence[Finding], doubt: float | None) -> Finding:
        by_name = {name: f.doubt for name, f in zip(self._names(), parts, strict=True)}
        notes = tuple(dict.fromkeys(note for f in parts for note in f.notes))
        known = None if all(f.doubt is None for f in parts) else doubt
        return Finding(
            known,
            spans=_spans(parts),
            notes=notes,
            cost=add_cost(*(f.cost for f in parts)) or dict[str, Usage](),
            details={"parts": by_name},
        )

    def _names(self) -> list[str]:
        from consort.models.cost import distinct

        return distinct([one.name for one in self.detectors])


def _chosen(figures: Mapping[float, float]) -> float:
    """The largest penalty that is as good as the best."""
    best = max(np.nan_to_num(value) for value in figures.values())
    return max(p for p, value in figures.items() if np.nan_to_num(value) >= best - NEAR)


def _spans(parts: Sequence[Finding]) -> tuple[Doubted, ...]:
    """Spans that detectors share, each with its mean doubt and all their evidence."""
    found: dict[tuple[int, int], list[Doubted]] = {}
    for finding in parts:
        for span in finding.spans:
            found.setdefault((span.start, span.end), []).append(span)
    joined = []
    for (start, end), spans in sorted(found.items()):
        known = [span.doubt for span in spans if span.doubt is not None]
        mean = sum(known) / len(known) if known else None
        joined.append(Doubted(start, end, mean, tuple(q for span in spans for q in span.evidence)))
    return tuple(joined)


def _table(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    return np.array([[np.nan if d is None else d for d in row] for row in rows], dtype=float)


def _normal_scores(column: np.ndarray) -> tuple[list[float], list[float]]:
    """Knots from values to the normal score of their quantile (mid-rank), at most `QUANTILES` of them."""
    from statistics import NormalDist

    values, counts = np.unique(column, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(column)
    kept = np.unique(np.linspace(0, len(values) - 1, min(QUANTILES, len(values))).round().astype(int))
    score = NormalDist().inv_cdf
    return values[kept].tolist(), [score(min(0.999, max(0.001, q))) for q in middle[kept].tolist()]


def _nested(blend: Blend, table: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Cross-fitted doubts whose penalty, too, was chosen without the fold that it is used on."""
    found = np.zeros(len(y))
    for fold in np.unique(folds):
        out = folds == fold
        inner = {p: auroc(blend._crossed(table[~out], y[~out], folds[~out], p), y[~out]) for p in PENALTIES}
        penalty = _chosen(inner)
        found[out] = blend._applied(blend._learned(table[~out], y[~out], penalty), table[out])
    return found
