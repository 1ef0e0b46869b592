"""Ray as the engine: it is started for this machine only, and finds what this process finds."""

from __future__ import annotations

import json
import os
import time
from functools import partial

import pytest

from consort.core.journal import Journal
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


class Seen:
    """A bowl that notes every evaluation, with its process, in a file."""

    def __init__(self, file):
        self.file = file

    def __call__(self, point):
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {list(point)}\n")
        time.sleep(0.02)
        return -sum((x - 0.3) ** 2 for x in point)


def make_seen(file):
    return of_function(Seen(file))


def search(hands, folder, told=lambda history: None):
    optimizer = Pso(Domain([0.0] * 3, [1.0] * 3), seed=2, particles=8, iterations=4)
    journal = Journal(folder, "bowl", force=False)
    with hands:
        run = Run(optimizer, hands, Scores("b", "o"), journal=journal, records=journal.open(), told=told)
        return run.run(), journal


@pytest.mark.slow
def test_one_of_two_machines_is_lost_and_nothing_else_changes(tmp_path):
    """Two nodes with two workers each; the second is taken away while they work."""
    pytest.importorskip("ray.util", reason="ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    alone, _ = search(InProcess(make_bowl), tmp_path / "alone")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False)
        lost = []

        def take_away(history):
            if not lost and history.evaluations >= 6:
                lost.append(True)
                cluster.remove_node(second, allow_graceful=False)

        hands = Ray(partial(make_seen, str(tmp_path / "seen")), 4)
        found, journal = search(hands, tmp_path / "cluster", take_away)
        seen = [line.split(" ", 1) for line in (tmp_path / "seen").read_text("utf-8").splitlines()]
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert lost and found.steps == alone.steps and found.best == alone.best
    records = map(json.loads, journal.path.read_text("utf-8").splitlines())
    written = [record["job"] for record in records if "job" in record]
    assert len(written) == len(set(written)) == found.evaluations  # no trial is written twice
    twice = len(seen) - len({point for _, point in seen})
    assert len({process for process, _ in seen}) == 4 and twice <= 2  # what the two lost workers had begun
