"""Several detectors as one: a weighted mean, or a calibrated combination that `consort fit` finds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
OWN_RATE = 10.0
"""Scale of the column that tells a kind: large, so that its base rate is hardly penalised."""


@detector(example={"detectors": ["length", "length"], "weights": [1.0, 1.0]})
class Blend:
    """The doubt of several detectors. With `weights` their weighted mean; else what fitting found.

    Fitted, each doubt becomes a normal score by its quantile among the fit's answers (`by: logistic`), or the share of
    wrong answers at its quantile (`isotonic`); a logistic regression weighs them. `by: equal` gives all normal scores
    one weight: labels only tell then how probable a wrong answer is, which may be better where they are few. A doubt
    that is not known counts as the middle one. `details` has the parts. The report of a fit has the cross-fitted
    AUROC, and the best single detector's beside it.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        *,
        weights: Sequence[Annotated[float, Range(0, 1000000)]] = (),
        by: Literal["logistic", "isotonic", "equal"] = "logistic",
        within: str = "",
        state: str = "",
    ) -> None:
        self.detectors, self.weights, self.by, self.state = tuple(detectors), tuple(weights), by, state
        self.within = within
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
        doubts = self._means(rows) if self.weights else self._fitted(_table(rows), self._kinds(cases)).tolist()
        return [self._finding([f[i] for f in parts], doubts[i]) for i in range(len(cases))]

    def fit(
        self, cases: Sequence[Case], wrong: Sequence[bool], groups: Sequence[str], *, seed: int = 0
    ) -> tuple[Blend, dict[str, Any]]:
        """The fitted detector, and how good it and each part are on folds that the fit had not seen."""
        parts = [one.detect(cases) for one in self.detectors]
        table = _Table(_table([[f[i].doubt for f in parts] for i in range(len(cases))]), self._kinds(cases))
        y = np.array(wrong, dtype=bool)
        check_labels(y)
        folds = folds_of(groups, FOLDS, seed)
        crossed = {penalty: self._crossed(table, y, folds, penalty) for penalty in PENALTIES}
        penalty = _chosen({p: table.auroc(crossed[p], y) for p in PENALTIES})
        fitted = copy.copy(self)
        fitted.values = self._learned(table, y, penalty)
        fitted.weights = ()
        doubts = np.nan_to_num(table.values, nan=0.5)
        singles = {name: table.auroc(doubts[:, k], y) for k, name in enumerate(self._names())}
        report = {
            "answers": len(y),
            "wrong": float(y.mean()),
            "auroc_cross_fitted": table.auroc(_nested(self, table, y, folds), y),
            "auroc_of_each": singles,
            "best_single": max(singles, key=lambda name: singles[name]),
            "penalty": penalty,
        }
        return fitted, report

    def _kinds(self, cases: Sequence[Case]) -> np.ndarray:
        """What kind each answer is of; "" for all where kinds are not told apart."""
        return np.array([str(case.details.get(self.within, "")) if self.within else "" for case in cases], dtype=object)

    def _crossed(self, table: _Table, y: np.ndarray, folds: np.ndarray, penalty: float) -> np.ndarray:
        found = np.zeros(len(y))
        for fold in np.unique(folds):
            out = folds == fold
            found[out] = self._applied(self._learned(table[~out], y[~out], penalty), table[out])
        return found

    def _learned(self, table: _Table, y: np.ndarray, penalty: float) -> dict[str, Any]:
        rows = {"": np.ones(len(y), bool), **{kind: table.kinds == kind for kind in sorted(set(table.kinds)) if kind}}
        maps = {kind: self._maps(table.values[own], y[own]) for kind, own in rows.items()}
        values: dict[str, Any] = {"maps": maps[""], "weights": []}
        if len(rows) > 1:
            values["kinds"] = {kind: {"maps": maps[kind]} for kind in rows if kind}
        features = _placed(values, table)
        own = features.mean(1, keepdims=True) if self.by == "equal" else features
        given = [own, *((table.kinds == kind)[:, None] * OWN_RATE for kind in list(rows)[2:])]
        weights = logistic(np.hstack(given), y.astype(float), penalty)
        if self.by == "equal":
            weights = np.concatenate([np.full(features.shape[1], weights[0] / features.shape[1]), weights[1:]])
        _enter(values, weights, features.shape[1])
        return values

    def _maps(self, table: np.ndarray, y: np.ndarray) -> list[list[list[float]]]:
        return [[list(x), list(to)] for x, to in (self._map(table[:, k], y) for k in range(table.shape[1]))]

    def _map(self, column: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
        known = ~np.isnan(column)
        if not known.any():
            return [0.0], [0.0]
        if self.by == "isotonic":
            x, values = isotonic(column[known], y[known].astype(float))
            middle = float(y[known].mean())
            return x, [4 * (v - middle) for v in values]
        return _normal_scores(column[known])

    def _fitted(self, table: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        return self._applied(learned_values(self, "blend"), _Table(table, kinds))

    def _applied(self, values: Mapping[str, Any], table: _Table) -> np.ndarray:
        weights = np.array(values["weights"])
        known = values.get("kinds", {})
        rates = np.array([known.get(kind, {}).get("rate", weights[-1]) for kind in table.kinds])
        return np.asarray(1 / (1 + np.exp(-(_placed(values, table) @ weights[:-1] + rates))))

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


@dataclass(frozen=True, slots=True)
class _Table:
    """Doubts, a column for each detector (NaN: not known), and what kind each row is of."""

    values: Float[np.ndarray, "n k"]
    kinds: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> _Table:
        return _Table(self.values[rows], self.kinds[rows])

    def auroc(self, doubts: np.ndarray, y: np.ndarray) -> float:
        """The mean over kinds that have answers of both sorts."""
        found = [auroc(doubts[own], y[own]) for own in (self.kinds == kind for kind in sorted(set(self.kinds)))]
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def _placed(values: Mapping[str, Any], table: _Table) -> Float[np.ndarray, "n k"]:
    """Each doubt by its kind's map; what is not known is the middle."""
    found = np.zeros(table.values.shape)
    for kind in sorted(set(table.kinds)):
        own = table.kinds == kind
        maps = values.get("kinds", {}).get(kind, values)["maps"]
        found[own] = np.stack([mapped((x, to), table.values[own, k]) for k, (x, to) in enumerate(maps)], 1)
    return np.where(np.isnan(table.values), 0.0, found)


def _enter(values: dict[str, Any], weights: np.ndarray, parts: int) -> None:
    """Keep the weights of parts and the constant; where kinds are told apart each gets its own constant beside it."""
    constant, kinds = float(weights[-1]), values.get("kinds", {})
    own = [0.0, *weights[parts:-1].tolist()]
    for kind, more in zip(kinds, own, strict=bool(kinds)):
        kinds[kind]["rate"] = constant + OWN_RATE * more
    values["weights"] = [*weights[:parts].tolist(), constant]


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


def _nested(blend: Blend, table: _Table, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Cross-fitted doubts whose penalty, too, was chosen without the fold that it is used on."""
    found = np.zeros(len(y))
    for fold in np.unique(folds):
        out = folds == fold
        rest = table[~out]
        inner = {p: rest.auroc(blend._crossed(rest, y[~out], folds[~out], p), y[~out]) for p in PENALTIES}
        penalty = _chosen(inner)
        found[out] = blend._applied(blend._learned(rest, y[~out], penalty), table[out])
    return found
