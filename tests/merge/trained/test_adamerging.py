"""AdaMerging for causal models (check 9.14)."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort.core.errors import BadCheckpoint, Incompatible
from consort.merge.trained.adamerging import adamerging, adapt, schedules
from consort.merge.trained.store import write_found
from consort.plan.build import build
from consort.plan.expression import parse
from consort.plan.objects import to_plan


def find(pair, **more):
    return adapt(pair.live.module, pair.deltas, pair.passages, start=[0.3, 0.3], batch=8, **more)


def stored(pair, found, folder):
    numbers = {"names": list(found.names), "amounts": [list(row) for row in found.amounts]}
    write_found(folder, "adamerging", pair.models, pair.base, numbers)
    return str(folder)


def test_no_step_is_task_arithmetic(pair, tmp_path):
    found = find(pair, steps=0)
    assert found.before == found.after
    merged = adamerging(models=pair.models, base=pair.base, coefficients=stored(pair, found, tmp_path))
    assert all(torch.equal(merged[name], pair.merged[name]) for name in merged.keys())


@pytest.mark.parametrize("grain", ["tensor", "model"])
def test_entropy_falls_and_coefficients_stay_in_range(pair, grain):
    found = find(pair, steps=10, lr=0.1, grain=grain)
    assert found.after < found.before
    values = torch.tensor(found.amounts)
    assert 0 <= float(values.min()) <= float(values.max()) <= 1
    assert (len(set(found.amounts)) == 1) == (grain == "model")


def test_one_seed_one_result_and_resume(pair, tmp_path):
    whole = find(pair, steps=4, seed=3)
    assert find(pair, steps=4, seed=3) == whole
    assert find(pair, steps=4, seed=4) != whole


def test_a_plan_names_it(pair, tmp_path):
    found = find(pair, steps=2, lr=0.1)
    folder = stored(pair, found, tmp_path)
    plan = {"adamerging": {"models": ["lab:mirror", "lab:order"], "base": "lab:base", "coefficients": folder}}
    merged = build(parse(plan), "checkpoint")
    again = build(parse(to_plan(merged)), "checkpoint")
    name = found.names[5]
    wanted = pair.deltas.of_base(name) + pair.deltas.weighed(name, found.amounts[5])
    torch.testing.assert_close(merged[name].float(), wanted, atol=1e-2, rtol=1e-2)
    assert all(torch.equal(merged[name], again[name]) for name in merged.keys())


def test_it_belongs_to_its_models_in_their_order(pair, tmp_path):
    folder = stored(pair, find(pair, steps=0), tmp_path)
    with pytest.raises(Incompatible, match="found for other models"):
        adamerging(models=pair.models[::-1], base=pair.base, coefficients=folder)
    with pytest.raises(BadCheckpoint, match="holds nothing"):
        adamerging(models=pair.models, base=pair.base, coefficients=str(tmp_path / "none"))


def test_rules_for_longer_names_come_first():
    (first, second) = schedules(["a.b", "x.a.b"], [[0.1, 1.0], [0.2, 1.0]])
    assert [rule.match for rule in first.rules] == ["x.a.b", "a.b"]
    assert first.at("x.a.b", None) == 0.2 and first.at("a.b", None) == 0.1
    assert second == 1.0


@pytest.mark.slow
def test_eight_skills_of_the_lab(tmp_path):
    """Mean of eight skills: .73 with task arithmetic at .3, .96 after 500 steps."""
    from consort import lab
    from consort.evaluate import evaluate
    from consort.merge.trained.collecting import collect_trained
    from consort.merge.trained.passages import read_passages

    skills = ("mirror", "order", "shout", "twice", "spin", "next", "edges", "yell")
    models, base = [c.load(f"lab:{name}") for name in skills], c.load("lab:base")
    merged = c.merge("task_arithmetic", models, base=base, weight=0.3)
    found = collect_trained("adamerging", merged, read_passages(lab.path("tasks/skills") / "dev.jsonl"), tmp_path)
    task = c.load_task(lab.path("tasks/skills"))
    better = adamerging(models=models, base=base, coefficients=str(tmp_path))
    assert found.after <= found.before
    assert evaluate(c.model(better), task).score >= evaluate(c.model(merged), task).score + 0.15
