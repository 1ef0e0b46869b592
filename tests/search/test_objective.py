"""Utilities named in a plan: rewards and ratings instead of the task's metric; what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from consort.core.errors import BadCheckpoint, BadParameter, BadPlan, ConsortError
from consort.core.types import Sampling
from consort.data import load_task
from consort.lab import path
from consort.runs.pool import WINNER
from consort.runs.search.run import search
from consort.search.utilities.reward import remembered, scaled

SPACE = {"merge_adapters": {"models": ["lab:lora-mirror", "lab:lora-order"], "weight": {"free": [-0.5, 1.5]}}}
REWARD = {"reward": "lab:reward", "low": -8, "high": 8}


@pytest.fixture(scope="module")
def task():
    whole = load_task(path("tasks/skills"))
    own = [tuple(e for e in part if e.group in ("mirror", "order")) for part in (whole.dev, whole.test)]
    return replace(whole, dev=own[0][:8], test=own[1][:4])


def plan(utility, **more):
    pso = {"pso": {"particles": 4, "iterations": 2, "populate": {"extra": True}}}
    return {"search": {"optimizer": pso, "space": SPACE, "base": "lab:base", "utility": utility, **more}}


def test_the_best_by_reward_is_what_the_reward_model_says_of_its_answers(task, tmp_path):
    from consort.models.judges.reward_model import RewardModel
    from consort.plan.build import load

    found = search(plan(REWARD), task=task, out=tmp_path, limit=6)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["details"]["utility"]["dev"][WINNER] == pytest.approx(found.best.outcome.score, abs=1e-4)
    assert set(results["details"]["utility"]["test"]) == {WINNER, "lora-mirror", "lora-order"}
    assert found.best.outcome.score >= max(results["singles_fit"].values())
    prompts = [e.prompt for e in task.dev[:6]]
    answers = found.space.model(found.best.point).generate(prompts, Sampling(max_tokens=task.options.max_tokens))
    judge = RewardModel(load("lab:reward"))
    rewards = [judge.rewards(p, [a.text])[0][0] for p, a in zip(prompts, answers, strict=True)]
    assert min(rewards) < max(rewards)
    expected = sum(scaled(r, -8, 8) for r in rewards) / len(rewards)
    assert found.best.outcome.score == pytest.approx(expected, abs=1e-4)


def test_a_judge_that_gives_no_rating_gives_the_lowest(task, tmp_path):
    found = search(plan({"judge": "lab:base"}), task=task, out=tmp_path, limit=3, conclude=False)
    assert found.best.outcome.score == 1.0


def test_a_pair_is_read_once():
    class Counts:
        asked = 0

        def rewards(self, prompt, answers):
            self.asked += len(answers)
            return [float(len(answers[0]))], None

    judge = Counts()
    reward = remembered(judge)
    assert reward([("p", "a"), ("p", "bb"), ("p", "a")]) == [1, 2, 1] and judge.asked == 2


@pytest.mark.parametrize(
    ("utility", "kind"),
    [
        ("reward", BadParameter),
        ({"rewards": "lab:reward"}, ConsortError),
        ({"reward": "lab:reward", "judge": "lab:base"}, BadPlan),
        ({"judge": ["lab:base", "lab:mirror"]}, BadPlan),
        ({"reward": "lab:base"}, BadCheckpoint),
        ({"reward": "lab:nothing"}, ConsortError),
        ({"reward": []}, BadPlan),
        ({**REWARD, "low": 9}, BadParameter),
        ({**REWARD, "prefer": "long"}, BadParameter),
        ({**REWARD, "hihg": 3}, ConsortError),
        ({"toxicity": ["lab:reward", "lab:reward"]}, BadPlan),
        ({"toxicity": "lab:reward", "label": "rude"}, BadParameter),
        ({"toxicity": "lab:base"}, ConsortError),
        ({"reward": {"models": "lab:reward", "low": 9}}, BadParameter),
        ({"reward": {"model": "lab:reward"}}, ConsortError),
        ({"judge": {"model": "lab:nothing"}}, ConsortError),
        ({"low": 3}, ConsortError),
        (3, BadPlan),
    ],
)
def test_utilities_that_cannot_be_leave_nothing_behind(utility, kind, task, tmp_path):
    with pytest.raises(kind):
        search(plan(utility), task=task, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_reward_is_a_mean(task, tmp_path):
    with pytest.raises(BadPlan, match="mean"):
        search(plan(REWARD), task=task, out=tmp_path / "run", combine="harmonic")


def test_prompts_alone_are_compared_by_the_utility(tmp_path):
    entries = [{"prompt": f"mirror {a} b =", "id": i} for i, a in enumerate("acde")]
    (tmp_path / "p.json").write_text(json.dumps({"dev": entries[:2], "test": entries[2:]}))
    found = search(plan(REWARD), task=tmp_path / "p.json", out=tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [r["score"] for r in results["test"]] == pytest.approx(list(results["details"]["utility"]["test"].values()))
    assert all(r["usage"]["completion_tokens"] > 0 and len(r["answers"]) == 2 for r in results["test"])
    assert found.comparison is not None and found.comparison.metric == "quality"


def test_a_classifier_of_toxicity_is_maximised_away(task, tmp_path):
    found = search(plan({"toxicity": "lab:reward"}), task=task, out=tmp_path, limit=4, conclude=False)
    assert 0 <= found.best.outcome.score <= 1 and found.history.evaluations > 2
