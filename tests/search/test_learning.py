"""Three experts of disjoint skills: the swarm against the best of them and the greedy soup, killed and resumed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from consort.core.journal import Journal
from consort.data import load_task
from consort.lab import path
from consort.runs import folder as run_folder
from consort.runs.search.run import search

SKILLS = ("mirror", "order", "shout")
SPACE = {"linear": {"models": [f"lab:{name}" for name in SKILLS], "weight": {"free": [-0.5, 1.5]}}}
PSO = {"pso": {"particles": 6, "iterations": 4}}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def task():
    whole = load_task(path("tasks/skills"))
    dev = [e for name in SKILLS for e in [e for e in whole.dev if e.group == name][:5]]
    return replace(whole, dev=tuple(dev), test=())


def run(optimizer, task, out):
    document = {"search": {"optimizer": optimizer, "space": SPACE}}
    return search(document, task=task, out=out, conclude=False)


@pytest.fixture(scope="module")
def swarm(task, tmp_path_factory):
    return run(PSO, task, tmp_path_factory.mktemp("swarm"))


def test_the_swarm_is_no_worse_than_the_best_expert_and_the_greedy_soup(swarm, task, tmp_path):
    singles = [step.outcome.score for step in swarm.history.steps[: len(SKILLS)]]
    soup = run("greedy_soup", task, tmp_path)
    assert all(0 < score < 1 for score in singles)
    assert swarm.best.outcome.score >= max(*singles, soup.best.outcome.score)


@pytest.mark.parametrize("after", [1, 7, 20])
def test_killed_after_any_evaluation_it_finds_the_same_to_the_last_bit(swarm, task, tmp_path, monkeypatch, after):
    class Dies(Journal):
        left = after

        def append(self, record):
            super().append(record)
            self.left -= 1
            if not self.left:
                raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "Journal", Dies)
        with pytest.raises(Killed):
            run(PSO, task, tmp_path)
    again = run(PSO, task, tmp_path)
    assert torch.equal(again.optimizer.swarm.g, swarm.optimizer.swarm.g)
    assert again.history.steps == swarm.history.steps and again.history.evaluations == swarm.history.evaluations
