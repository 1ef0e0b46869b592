"""Machines that share a folder: one search, every job done once, any of them dispensable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consort.core.errors import BadData, BadParameter
from consort.search.engine.domain import Domain
from consort.search.engine.evaluator import Job, of_function
from consort.search.engine.run import Run
from consort.search.engine.scores import Scores
from consort.search.engine.shared import Shared
from consort.search.engine.workers import InProcess, Workers, check_engine, workers
from consort.search.optimizers.pso import Pso


def bowl(point):
    return -sum((x - 0.3) ** 2 for x in point)


def searched(hands: Workers):
    optimizer = Pso(Domain([0.0] * 3, [1.0] * 3), seed=2, particles=6, iterations=4)
    with hands:
        return Run(optimizer, hands, Scores("b", "o")).run()


def test_two_find_what_one_finds_and_do_each_job_once(tmp_path):
    done = []

    def noted(point):
        done.append(tuple(point))
        time.sleep(0.002)
        return bowl(point)

    alone = searched(InProcess(lambda: of_function(bowl)))
    with ThreadPoolExecutor(2) as pool:
        hands = [Shared(lambda: of_function(noted), tmp_path, "bowl") for _ in range(2)]
        found = list(pool.map(searched, hands))
    assert found[0].steps == found[1].steps == alone.steps
    assert len(done) == len(set(done)) == alone.evaluations
    assert searched(Shared(lambda: of_function(pytest.fail), tmp_path, "bowl")).steps == alone.steps


JOB = Job(((0.5,),))


def test_a_claim_that_is_not_kept_fresh_is_taken_over(tmp_path):
    dead, other = (Shared(lambda: of_function(bowl), tmp_path, "bowl", fresh_s=0.2) for _ in range(2))
    assert dead._claimed("job") is not None and other._claimed("job") is None
    time.sleep(0.25)
    taken = other._claimed("job")
    assert taken is not None and taken.name == "job.claim.2" and dead._claimed("job") is None
    with other._kept_fresh(taken):
        time.sleep(0.3)
        assert dead._claimed("job") is None


def test_what_it_refuses(tmp_path):
    assert list(Shared(lambda: of_function(bowl), tmp_path, "bowl").map([JOB]))[0][0].score == pytest.approx(-0.04)
    with pytest.raises(BadParameter, match="another search"):
        Shared(lambda: of_function(bowl), tmp_path, "dish")
    [file] = [f for f in tmp_path.glob("*.json") if f.name != "search.json"]
    file.write_text("{}", "utf-8")
    with pytest.raises(BadData, match="no outcome"):
        list(Shared(lambda: of_function(bowl), tmp_path, "bowl").map([JOB]))
    with pytest.raises(BadParameter, match="no engine"):
        check_engine("shared:", 1)
    assert isinstance(workers(f"shared:{tmp_path}", lambda: of_function(bowl), search="bowl"), Shared)


MACHINE = """
import os, sys, time
from pathlib import Path
from test_shared import bowl, searched
from consort.search.engine.evaluator import of_function
from consort.search.engine.shared import Shared
def noted(point):
    with open(sys.argv[2], "a") as file:
        file.write(f"{os.getpid()} {list(point)}\\n")
    time.sleep(0.2)
    return bowl(point)
folder = Path(sys.argv[1])
hands = Shared(lambda: of_function(noted), folder, "bowl", fresh_s=2)
(folder / f"ready.{os.getpid()}").touch()
while len(list(folder.glob("ready.*"))) < 2:
    time.sleep(0.05)
found = searched(hands)
print(found.best.point, found.evaluations)
"""


def seen(folder):
    """Every evaluation that was begun: which process, which point."""
    file = folder / "seen"
    return [line.split(" ", 1) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


@pytest.mark.slow
def test_one_of_two_machines_is_killed_and_nothing_else_changes(tmp_path):
    alone = searched(InProcess(lambda: of_function(bowl)))
    command = [sys.executable, "-c", MACHINE, str(tmp_path / "shared"), str(tmp_path / "seen")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    machines = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with machines[0] as first, machines[1] as second:
        while len([1 for process, _ in seen(tmp_path) if process == str(first.pid)]) < 3:
            assert first.poll() is None, "it has ended before it was killed"
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        told, _ = second.communicate(timeout=120)
    assert told.strip() == f"{alone.best.point} {alone.evaluations}"
    begun = seen(tmp_path)
    different = {point for _, point in begun}
    assert len({process for process, _ in begun}) == 2 and len(different) == alone.evaluations
    assert len(begun) - len(different) <= 1  # what the first had begun
