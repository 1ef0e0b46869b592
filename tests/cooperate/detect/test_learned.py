"""Blends and calibrations: what they learn, on folds that they have not seen; figures of quality."""

from __future__ import annotations

import numpy as np
import pytest

from consort.cooperate.detect import detectors
from consort.cooperate.detect.learned.fitting import isotonic, logistic, mapped
from consort.cooperate.detect.quality import auprc, auroc, calibration_error, folds_of, interval
from consort.core.errors import BadData, BadParameter
from consort.models.detecting import Case


def test_figures_by_hand():
    doubts, wrong = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, False, True, False])
    assert auroc(doubts, wrong) == pytest.approx((2 + 1.5) / 4)
    assert auprc(doubts, wrong) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert np.isnan(auroc(doubts, np.zeros(4, bool)))
    assert calibration_error(np.array([0.25, 0.25, 0.75, 0.75]), np.array([False, False, True, True])) == 0.25
    low, high = interval(auroc, doubts, wrong, ["a", "a", "b", "b"], draws=200)
    assert 0 <= low <= high <= 1


def test_sklearn_agrees():
    from sklearn.isotonic import IsotonicRegression
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    x, y = rng.random(200).round(2), rng.random(200) < 0.4
    assert auroc(x, y) == pytest.approx(roc_auc_score(y, x))
    assert auprc(x, y) == pytest.approx(average_precision_score(y, x))
    theirs = IsotonicRegression(out_of_bounds="clip").fit(x, y.astype(float)).predict(x)
    assert mapped(isotonic(x, y.astype(float)), x) == pytest.approx(theirs)


def test_isotonic_and_logistic_by_hand():
    knots = isotonic(np.array([1.0, 2, 3]), np.array([0.0, 1, 0]))
    assert mapped(knots, np.array([0, 1, 2, 3, 9])).tolist() == [0, 0, 0.5, 0.5, 0.5]
    weights = logistic(np.zeros((4, 1)), np.array([1.0, 1, 1, 0]), 1.0)
    assert 1 / (1 + np.exp(-weights[-1])) == pytest.approx(0.75, abs=1e-5)


def test_folds_keep_groups_together():
    groups = [f"g{i // 3}" for i in range(60)]
    folds = folds_of(groups, 5)
    assert all(len(set(folds[3 * g : 3 * g + 3])) == 1 for g in range(20)) and len(set(folds)) == 5


def scored(n=300, seed=0):
    """Cases with two noisy scores of whether they are wrong, and one that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.4
    columns = {"a": wrong + rng.normal(0, 1, n), "b": wrong + rng.normal(0, 1, n), "noise": rng.normal(0, 1, n)}
    cases = [Case("x", details={k: float(v[i]) for k, v in columns.items()}) for i in range(n)]
    return cases, wrong.tolist(), [str(i) for i in range(n)]


def parts():
    return [detectors.get("cached")(name, better=False) for name in ("a", "b", "noise")]


@pytest.mark.parametrize("by", ["logistic", "isotonic", "equal"])
def test_a_blend_beats_its_parts_on_what_it_has_not_seen(by):
    taken = parts()[:2] if by == "equal" else parts()  # equal weights do not leave out what is noise
    fitted, report = detectors.get("blend")(taken, by=by).fit(*scored())
    assert report["auroc_cross_fitted"] > max(report["auroc_of_each"].values())
    cases, wrong, _ = scored(seed=1)
    found = np.array([f.doubt for f in fitted.detect(cases)])
    best = max(auroc(np.array([f.doubt for f in one.detect(cases)]), np.array(wrong)) for one in parts())
    assert auroc(found, np.array(wrong)) > best


def test_equal_weights_are_equal_and_need_few_labels():
    cases, wrong, groups = scored(400)
    fitted, _ = detectors.get("blend")(parts()[:2], by="equal").fit(cases[:40], wrong[:40], groups[:40])
    a, b, constant = fitted.values["weights"]
    assert a == b > 0 and np.isfinite(constant)
    values = np.array([[c.details["a"], c.details["b"]] for c in cases[40:]])
    ranks = values.argsort(0).argsort(0).mean(1)
    found = np.array([f.doubt for f in fitted.detect(cases[40:])])
    assert auroc(found, np.array(wrong[40:])) > auroc(ranks, np.array(wrong[40:])) - 0.03


def test_kinds_of_answers_share_weights_and_keep_their_own_scales(tmp_path):
    """Of one kind scores lie ten higher and most answers are wrong: pooled, the kind is all that is learned."""
    cases, wrong, groups = scored(400)
    kinds, rng = [i % 4 == 0 for i in range(400)], np.random.default_rng(3)
    wrong = [w or (far and rng.random() < 0.8) for w, far in zip(wrong, kinds, strict=True)]

    def of_kind(case, far):
        shifted = {k: v + 10 * far for k, v in case.details.items()}
        return Case("x", details={**shifted, "set": "far" if far else "near"})

    cases = [of_kind(c, far) for c, far in zip(cases, kinds, strict=True)]
    fitted, report = detectors.get("blend")(parts(), within="set").fit(cases, wrong, groups)
    assert set(fitted.values["kinds"]) == {"far", "near"}
    assert fitted.values["kinds"]["far"]["rate"] > fitted.values["kinds"]["near"]["rate"]
    fresh, truth, _ = scored(400, seed=2)
    near, far = ([of_kind(c, f) for c in fresh] for f in (False, True))
    one, other = (np.array([f.doubt for f in fitted.detect(rows)]) for rows in (near, far))
    assert auroc(one, np.array(truth)) > 0.7 and auroc(other, np.array(truth)) > 0.7
    assert (other > one).mean() > 0.95
    assert abs(auroc(one, np.array(truth)) - auroc(other, np.array(truth))) < 0.02
    [unseen] = fitted.detect([Case("x", details={"a": 3.0, "b": 3.0, "noise": 0.0, "set": "new"})])
    assert 0 < unseen.doubt < 1


def test_what_is_not_known_counts_as_the_middle():
    fitted, _ = detectors.get("blend")(parts()).fit(*scored())
    [one, none] = fitted.detect([Case("x", details={"a": 3.0}), Case("x")])
    assert one.doubt > 0.4 and none.doubt is None and none.notes


def test_calibration_is_no_worse_on_what_it_has_not_seen():
    cases, wrong, groups = scored(600)
    fitted, report = detectors.get("calibrated")(parts()[0]).fit(cases, wrong, groups)
    assert report["calibration_error_fitted"] <= report["calibration_error"]
    fresh, truth, _ = scored(400, seed=2)
    before = np.array([f.doubt for f in parts()[0].detect(fresh)])
    after = np.array([f.doubt for f in fitted.detect(fresh)])
    assert calibration_error(after, np.array(truth)) <= calibration_error(before, np.array(truth))
    assert auroc(after, np.array(truth)) == pytest.approx(auroc(before, np.array(truth)), abs=0.02)


def test_weights_need_no_fit_and_nothing_else_goes_without():
    blend = detectors.get("blend")(parts()[:2], weights=[3, 1])
    [finding] = blend.detect([Case("x", details={"a": 1.0, "b": -1.0})])
    assert finding.doubt == pytest.approx(0.75 * 0.75 + 0.25 * 0.25)
    with pytest.raises(BadParameter, match="1 weights for 2"):
        detectors.get("blend")(parts()[:2], weights=[1])
    with pytest.raises(BadParameter, match="is not fitted"):
        detectors.get("blend")(parts()).detect([Case("x")])
    with pytest.raises(BadData, match="5 right and 5 wrong"):
        detectors.get("calibrated")(parts()[0]).fit(scored()[0][:10], [True, False] * 5, list("abcdefghij"))
