"""Ray as the engine: it is started for this machine only, and finds what this process finds."""

from __future__ import annotations

import os

import pytest

from consort.search.engine.domain import Domain
from consort.search.engine.evaluator import of_function
from consort.search.engine.run import Run
from consort.search.engine.scores import Scores
from consort.search.engine.workers import ADDRESS, ALONE, InProcess, Ray, _start
from consort.search.optimizers.pso import Pso


def make_bowl():
    return of_function(lambda point: -sum((x - 0.3) ** 2 for x in point))


class Pretends:
    """Stands for the package: keeps what `init` was given and the settings that it found."""

    def init(self, **given):
        self.given, self.found = given, {name: os.environ.get(name) for name in ALONE}


def test_a_cluster_of_its_own_is_on_the_loopback_address(monkeypatch):
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    ray = Pretends()
    _start(ray)
    assert ray.found == ALONE and ray.given["_node_ip_address"] == "127.0.0.1"
    assert ray.given["address"] == "local" and ray.given["include_dashboard"] is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1" and "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


def test_a_named_cluster_is_joined_as_it_is(monkeypatch):
    monkeypatch.setenv(ADDRESS, "10.0.0.1:6379")
    ray = Pretends()
    _start(ray)
    assert "address" not in ray.given and set(ray.found.values()) == {None}


@pytest.mark.slow
def test_ray_finds_what_this_process_finds():
    pytest.importorskip("ray.util", reason="ray is not installed")
    traces = []
    for hands in (InProcess(make_bowl), Ray(make_bowl, 2)):
        optimizer = Pso(Domain([0.0] * 3, [1.0] * 3), seed=2, particles=5, iterations=3)
        with hands:
            traces.append(Run(optimizer, hands, Scores("b", "o"), pack=2).run().steps)
    assert traces[0] == traces[1]
