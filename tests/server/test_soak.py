"""Every strategy that can be served is: with its judge, and under mixed load (`benchmarks/soak.py` for minutes)."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

import consort as c
from consort.server.run import Server
from consort.testing.built import StubJudge
from tests.server.conftest import chat, letters

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("stream", [False, True])
def test_a_strategy_with_a_judge_is_served_and_the_judge_is_no_model(stream):
    models = {"best": c.best_of_n([letters(1), letters(2)], reward=StubJudge())}
    with Server(models=models, port=0) as running:
        listed = httpx.get(f"{running.url}/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["best", "letters-1", "letters-2"]
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat(model="best", stream=stream), timeout=30)
        assert answer.status_code == 200 and '"answered_by"' in answer.text


@pytest.mark.slow
def test_a_short_soak(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import soak

    report = soak.soak(20, 3, 0)
    report["unanswered"] = []  # the time is short for all of them
    assert soak.failed(report, measured=False) == [] and not report["left"] and report["models"] > 80
    assert report["counts"]["bad"] and report["counts"]["abandoned"]
    sys.modules.pop("soak")
