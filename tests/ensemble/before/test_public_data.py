"""The router to start with against published figures, on real answers of real models."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from consort.ensemble.before.blend import Blend
from consort.ensemble.features.ngrams import gram_counts
from consort.ensemble.routing.cost_quality import apgr
from consort.models import FakeModel

PARTS = Path(__file__).parents[3] / "benchmarks" / "routing"


@pytest.fixture(scope="module")
def routerdc(shared):
    part = runpy.run_path(str(PARTS / "routerdc.py"))
    folder = shared / "ensemble" / "routerdc" / "split2_model7"
    return part, *(part["read"](folder, part[name]) for name in ("TRAIN", "INSIDE", "OUTSIDE"))


def test_who_knows_the_best_model_of_each_query_or_set(routerdc):
    part, train, inside, outside = routerdc
    assert [len(x) for x in (train, inside, outside)] == [5935, 9408, 2717] and len(train.models) == 7
    known = {"oracle": (77.52, 70.34), "oracle_dataset": (58.70, 46.36)}
    known["best single of the test sets"] = (54.56, 43.95)
    for name, means in known.items():
        row = dict(zip(part["COLUMNS"], part["baseline"](name, inside, outside), strict=True))
        assert (float(row["ID"]), float(row["OOD"])) == pytest.approx(means, abs=0.0101), name


@pytest.mark.slow
def test_routerdc_in_and_out_of_domain(routerdc):
    part, train, inside, outside = routerdc
    router = Blend([FakeModel({}, name=name) for name in train.models]).fit(train)
    assert part["means"](router.choose(inside.queries), inside)[-1] >= 58.54
    assert part["means"](router.choose(outside.queries), outside)[-1] >= 45.85


@pytest.mark.slow
def test_routellm_gsm8k(shared):
    part = runpy.run_path(str(PARTS / "routellm.py"))
    data = part["observed"](shared / "ensemble" / "routellm" / "gsm8k")
    assert len(data) == 1307
    jobs, grams = {"blend": part["by_router"]("blend", {})}, gram_counts(data.queries)
    pair = data.quality[:, 0], data.quality[:, 1]
    scores = [part["out_of_fold"](jobs, data, seed, grams)["blend"].scores[0] for seed in range(4)]
    assert np.mean([apgr(s, *pair, points="deciles") for s in scores]) >= 0.63


def test_published_figures_of_fixed_orders(shared):
    part = runpy.run_path(str(PARTS / "routellm.py"))
    data = part["observed"](shared / "ensemble" / "routellm" / "gsm8k")
    length = np.array([len(text) for text in data.queries], dtype=float)
    gain = data.quality[:, 0] - data.quality[:, 1]
    deciles, exact, *cpts = part["figures"]([length], data)
    assert exact == pytest.approx(0.5978, abs=5e-4) and deciles == pytest.approx(0.598, abs=0.003)
    assert cpts == pytest.approx([11.0, 36.6, 66.8], abs=0.5)
    assert part["figures"]([gain], data)[:2] == pytest.approx([1.115, 1.1208], abs=2e-3)


def test_frugalgpt_savings(shared):
    [(_, _, rows)] = runpy.run_path(str(PARTS / "frugalgpt.py"))["tables"](shared / "ensemble")
    found = {row[0]: row[1:6] for row in rows}
    assert found["HEADLINES"] == ["0.8558", "0.003331", "0.8698", "0.000192", "94 %"]
    assert found["AGNEWS"][2:4] == ["0.9003", "0.000565"]
    assert found["SCIQ"][2:4] == ["0.7869", "0.001885"]
