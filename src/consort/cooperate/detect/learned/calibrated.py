"""A detector whose doubts are probabilities: an isotonic map, learned from labelled answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from consort.cooperate.detect import detector
from consort.cooperate.detect.learned.fitting import check_labels, isotonic, learned_values, mapped
from consort.cooperate.detect.quality import auroc, calibration_error, folds_of
from consort.models.detecting import Case, Detector, Finding

FOLDS = 5


@detector(example={"detector": "length"})
class Calibrated:
    """The share of wrong answers among those so doubted, as `consort fit` found it (isotonic regression).

    The order of answers is kept but for ties. Spans keep the inner detector's doubts, through the same map.
    """

    def __init__(self, detector: Detector, *, state: str = "") -> None:
        self.detector, self.state = detector, state
        self.needs = detector.needs
        self.values: dict[str, Any] | None = None

    def detect(self, cases: Sequence[Case]) -> list[Finding]:
        values = learned_values(self, "calibrated")
        knots = (values["x"], values["y"])
        return [_through(knots, finding) for finding in self.detector.detect(cases)]

    def fit(
        self, cases: Sequence[Case], wrong: Sequence[bool], groups: Sequence[str], *, seed: int = 0
    ) -> tuple[Calibrated, dict[str, Any]]:
        """The fitted detector, and the calibration error before and after on folds that it had not seen."""
        found = self.detector.detect(cases)
        known = [i for i, finding in enumerate(found) if finding.doubt is not None]
        x = np.array([found[i].doubt for i in known], dtype=float)
        y = np.array([wrong[i] for i in known], dtype=bool)
        check_labels(y)
        folds, crossed = folds_of([groups[i] for i in known], FOLDS, seed), np.zeros(len(x))
        for fold in range(FOLDS):
            out = folds == fold
            if out.any() and not out.all():
                crossed[out] = mapped(isotonic(x[~out], y[~out].astype(float)), x[out])
        knots = isotonic(x, y.astype(float))
        fitted = copy.copy(self)
        fitted.values = {"x": knots[0], "y": knots[1]}
        report = {
            "answers": len(x),
            "wrong": float(y.mean()),
            "auroc": auroc(x, y),
            "calibration_error": calibration_error(x, y),
            "calibration_error_fitted": calibration_error(crossed, y),
        }
        return fitted, report


def _through(knots: tuple[Sequence[float], Sequence[float]], finding: Finding) -> Finding:
    spans = tuple(
        span if span.doubt is None else replace(span, doubt=float(mapped(knots, np.array([span.doubt]))[0]))
        for span in finding.spans
    )
    if finding.doubt is None:
        return replace(finding, spans=spans)
    return replace(finding, doubt=float(mapped(knots, np.array([finding.doubt]))[0]), spans=spans)
