"""Votes and cascades against published figures, on real answers of real models."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PARTS = Path(__file__).parents[3] / "benchmarks" / "routing"


@pytest.fixture(scope="module")
def zeroeval(shared):
    part = runpy.run_path(str(PARTS / "zeroeval.py"))
    return part, part["observed"](shared / "ensemble" / "zeroeval" / "gsm.jsonl.gz")


def test_votes_on_gsm8k(zeroeval):
    part, data = zeroeval
    assert (len(data), len(data.models)) == (1319, 43)
    rows = part["votes"](data)
    assert len(rows) == 9
    for name, found, published, _ in rows:
        assert float(found) == pytest.approx(float(published), abs=0.0101), name


def test_agreement_cascades_on_gsm8k(zeroeval):
    part, data = zeroeval
    rows = part["cascades"](data)
    assert len(rows) == 3
    for name, quality, published, share in rows:
        wanted = [float(number) for number in published.split(" / ")]
        assert [float(quality), float(share)] == pytest.approx(wanted, abs=0.0101), name
    # three small models and the large one only where they disagree are better than the large one alone
    quality, share = float(rows[2][1]), float(rows[2][3])
    assert quality >= 94.5 > 94.16 and share <= 29


@pytest.mark.parametrize("pool", ["six small", "one strong, five small"])
def test_gated_votes_are_never_below_the_best_single(zeroeval, pool):
    part, data = zeroeval
    members = data.columns([data.models.index(m) for m in part["POOLS"][pool]])
    for rule, (kept, gain, _) in part["one_seed"](members, 0).items():
        assert gain >= 0, rule
        assert kept or gain == 0


@pytest.fixture(scope="module")
def date(shared):
    if not (shared / "ensemble" / "mot_cascade").is_dir():
        pytest.skip("no cached answers of the mixture-of-thought cascade")
    return runpy.run_path(str(PARTS / "date_cascade.py"), init_globals=None)


def test_mixture_of_thought_on_date(date):
    rows = date["published"]()
    assert len(rows) == 8
    for name, quality, share, _, published in rows:
        found = [round(float(quality), 1), round(float(share), 1)]
        assert found == pytest.approx([float(number) for number in published.split(" / ")], abs=0.0501), name


def test_single_models_on_date_and_gsm8k(date):
    for name, found, _, _, published in date["singles"]():
        assert float(found) == pytest.approx(float(published), abs=0.0101), name


@pytest.mark.slow
def test_learned_acceptance_on_date(date):
    data = date["observed"](date["SETS"]["MoT-1D"], 7)
    found = [date["cross_validated"](data, "MoT-1D", 7, 0.24, seed) for seed in range(20)]
    quality, share = (sum(values) / len(found) for values in zip(*found, strict=True))
    assert quality >= 0.886 and 0.15 + share <= 0.45
