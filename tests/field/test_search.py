"""Cases from the field that concern searches."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Annotated

import pytest
import torch

import consort as c
from consort.core.errors import ConsortError
from consort.core.params import Range
from consort.data import load_task
from consort.lab import path
from consort.merge import merge
from consort.plan.search.plan import read_search
from consort.runs.search.run import search
from consort.search.engine.domain import Domain
from consort.search.optimizers.bayes import Bayes
from consort.weights.checkpoint import Checkpoint

BRANIN = Domain([-5.0, 0.0], [10.0, 15.0])
LEAST = 0.39788735772973816


def branin(a: float, b: float) -> float:
    """Three minima of .3979, in valleys that are longer in one direction than in the other."""
    bent = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def off(seed: int, **options) -> float:
    """How far the best of a search is above the minimum."""
    optimizer, best = Bayes(BRANIN, seed=seed, **options), math.inf
    while len(points := optimizer.ask()):
        values = [branin(*point) for point in points.tolist()]
        best = min(best, *values)
        optimizer.tell(-torch.tensor(values, dtype=torch.float64))
    return best - LEAST


def test_F10_a_length_for_each_coordinate_finds_the_minimum_of_branin():
    assert median(off(seed, evaluations=25) for seed in range(3)) <= 2.7e-3


SKILLS = ("mirror", "order")


@pytest.fixture(scope="module")
def task():
    whole = load_task(path("tasks/skills"))
    own = [tuple(e for e in part if e.group in SKILLS) for part in (whole.dev, whole.test)]
    return replace(whole, dev=own[0][:8], test=own[1][:4])


def plan(evaluations=12, models=("lab:mirror", "lab:order")):
    space = {"linear": {"models": list(models), "weight": {"free": [0, 1]}}}
    return {"search": {"optimizer": {"random": {"evaluations": evaluations, "batch": 4}}, "space": space}}


def results(folder):
    return json.loads((folder / "results.json").read_text())


def lines(folder, kind):
    return [r for r in map(json.loads, (folder / "journal.jsonl").read_text().splitlines()) if kind in r]


def test_G5_a_smaller_budget_keeps_what_is_known(task, tmp_path, caplog):
    first = search(plan(), task=task, out=tmp_path / "run", budget=6)
    before = results(tmp_path / "run")
    again = search(plan(), task=task, out=tmp_path / "run", budget=4)
    assert again.history.evaluations == 6 and again.best == first.best and results(tmp_path / "run") == before
    assert "has 6 evaluations already" in caplog.text


def test_D5_a_larger_budget_goes_on_and_saves_what_is_better(task, tmp_path):
    search(plan(), task=task, out=tmp_path / "run", budget=2)
    known = len(lines(tmp_path / "run", "job"))
    found = search(plan(), task=task, out=tmp_path / "run", budget=12)
    whole = search(plan(), task=task, out=tmp_path / "whole", budget=12)
    assert found.history.steps == whole.history.steps and known == 2
    saved, wanted = c.load(tmp_path / "run" / "model"), c.load(tmp_path / "whole" / "model")
    assert all(torch.equal(saved[name], wanted[name]) for name in wanted.keys())


def test_D5_another_plan_goes_on_with_what_is_known_and_says_what_differs(task, tmp_path, caplog):
    search(plan(4), task=task, out=tmp_path / "run")
    found = search(plan(12), task=task, out=tmp_path / "run")
    assert "goes on with 4 evaluations" in caplog.text
    assert "search.optimizer.random.evaluations: 4 -> 12" in results(tmp_path / "run")["notes"][1]
    fresh = search(plan(12), task=task, out=tmp_path / "fresh")
    assert found.history.steps == fresh.history.steps


def test_D5_with_one_model_more_what_is_known_of_the_others_is_not_evaluated_again(task, tmp_path, monkeypatch):
    soup = {"search": {**plan()["search"], "optimizer": "greedy_soup"}}
    search(soup, task=task, out=tmp_path / "run", conclude=False)
    more = {"search": {**plan(models=("lab:mirror", "lab:order", "lab:shout"))["search"], "optimizer": "greedy_soup"}}
    found = search(more, task=task, out=tmp_path / "run", conclude=False)
    singles = [step.point for step in found.history.steps[:3]]
    assert singles == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    first, second = lines(tmp_path / "run", "asked")
    names = [r["points"] for r in lines(tmp_path / "run", "job")]
    assert names[0] == names[3] and names[1] == names[4]  # told again, from what is known


def test_F20_changed_digits_in_the_journal_are_computed_again(task, tmp_path, caplog):
    first = search(plan(4), task=task, out=tmp_path / "run")
    before = results(tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    text = journal.read_text()
    line = next(line for line in text.splitlines() if '"outcomes"' in line)
    score = json.loads(line)["outcomes"][0]["score"]
    journal.write_text(text.replace(line, line.replace(f'"score": {score}', '"score": 0.99')))
    again = search(plan(4), task=task, out=tmp_path / "run")
    assert again.history.steps == first.history.steps and results(tmp_path / "run") == before
    assert "damaged or changed" in caplog.text


@pytest.fixture
def halves():
    """A space that only this test knows."""
    from consort.search.spaces import space, spaces

    @space()
    class Halves:
        """The first model and a share of the second."""

        def __init__(self, models: Sequence[Checkpoint], *, most: Annotated[float, Range(0, 1)] = 0.5) -> None:
            self.models, self.most = models, most
            self.domain = Domain([0.0], [most], ("share",), [[0.0]])

        def checkpoint(self, point):
            return merge("linear", self.models, weight=[1 - point[0], point[0]])

    yield
    del spaces._entries["halves"], spaces._items["halves"]


def test_a_new_space_is_one_definition(halves, task, tmp_path):
    document = {"search": {**plan(3)["search"], "space": {"halves": {"models": ["lab:mirror", "lab:order"]}}}}
    found = search(document, task=task, out=tmp_path / "run")
    assert all(step.point[0] <= 0.5 for step in found.history.steps)
    assert found.plan["linear"]["weight"] == pytest.approx([1 - found.best.point[0], found.best.point[0]])
    document["search"]["space"]["halves"]["most"] = 2
    with pytest.raises(ConsortError, match="outside"):
        read_search(document)


def test_spaces_of_combinations_are_what_their_calls_are(task):
    space = {"weights": {"models": ["lab:mirror", "lab:order"], "base": "lab:base", "low": 0, "extra": True}}
    named = read_search({"search": {"optimizer": "pso", "space": space}})
    call = {"linear": {"models": ["lab:mirror", "lab:order"], "weight": {"free": [0, 1.5]}}}
    pso = {"pso": {"populate": {"extra": True}}}
    written = read_search({"search": {"optimizer": pso, "space": call, "base": "lab:base"}})
    assert named.domain == written.domain and named.template == written.template
    from consort.search.spaces.weights import Weights

    own = Weights([c.load("lab:mirror"), c.load("lab:order")], base=c.load("lab:base"), low=0, extra=True)
    assert own.domain == written.domain
    point = (0.2, 0.5, 0.3)
    made, wanted = (
        own.checkpoint(point),
        c.merge("linear", [c.load(f"lab:{n}") for n in ("base", *SKILLS)], weight=point),
    )
    assert all(torch.equal(made[name], wanted[name]) for name in wanted.keys())
