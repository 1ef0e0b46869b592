"""Fusion by preference from a plan: all stages, killed and resumed, rewards of both kinds, refusals."""

from __future__ import annotations

import json
import shutil

import pytest

from consort import lab
from consort.core.errors import BadCheckpoint, BadData, BadPlan, ConsortError
from consort.fuse import preference, preferring, training
from consort.models.judges.reward_model import RewardModel
from consort.plan.fuse.plan import parse_fuse
from consort.recipes.fusechat import preference as fusechat_preference
from consort.recipes.fusechat import run as fusechat
from consort.recipes.fusechat.run import fuse, opened
from consort.weights import open_folder


@pytest.fixture
def plan(tmp_path):
    """Two specialists answer for a base that has neither skill."""
    lines = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
    wanted = [line for line in lines if json.loads(line)["group"] in ("mirror", "order")]
    (tmp_path / "prompts.jsonl").write_text("\n".join(wanted[:8]))
    return {
        "pivot": "lab:base",
        "sources": ["lab:mirror", "lab:order"],
        "corpus": str(tmp_path / "prompts.jsonl"),
        "mode": "preference",
        "sample": {"each": 3, "temperature": 1.5, "top_p": 1.0, "max_tokens": 12, "shard": 4},
        "train": {"steps": 3, "batch": 4, "lr": 1e-3, "save_every": 1},
        "prefer": {"steps": 3, "batch": 4, "part": 2, "lr": 1e-4, "save_every": 1},
    }


def model_bytes(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


class Killed(BaseException): ...


def killing(monkeypatch, where, name, at):
    """Let the `at`-th call of a function end the run, as a kill would."""
    real, calls = getattr(where, name), []

    def dies(*arguments, **options):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return real(*arguments, **options)

    monkeypatch.setattr(where, name, dies)
    return calls


def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(plan, tmp_path, monkeypatch):
    whole = fuse(plan, tmp_path / "whole")
    assert list(whole.students) == ["best", "preferred"]
    assert whole.pairs > 0
    assert set().union(*whole.chosen.values()) <= {"mirror", "order"}
    out = tmp_path / "killed"
    stages = (
        (preference, "_drawn", 3),
        (preference, "_finite", 5),
        (training, "write", 1),
        (preferring, "write_student", 1),
        (fusechat, "write_results", 1),
    )
    for where, name, at in stages:
        with monkeypatch.context() as context:
            killing(context, where, name, at)
            with pytest.raises(Killed):
                fuse(plan, out)
    with monkeypatch.context() as context:
        for where, name in ((preference, "_drawn"), (fusechat_preference, "train"), (preferring, "prefer")):
            killing(context, where, name, 1)  # nothing is done twice
        found = fuse(plan, out)
    assert model_bytes(out) == model_bytes(whole.folder)
    assert found.chosen == whole.chosen
    assert not list(out.rglob("*.state.safetensors"))


def test_the_right_source_wins_and_the_best_are_learnt(plan, tmp_path):
    found = fuse(plan | {"train": plan["train"] | {"steps": 12}}, tmp_path / "out")
    for skill, counts in found.chosen.items():
        assert max(counts, key=counts.get) == skill
    curve = json.loads((found.students["best"] / "curve.json").read_text())
    assert curve["terms"] == ["text", "fusion"]
    assert curve["loss"][-1][0] < curve["loss"][0][0]
    pairs = json.loads((found.students["preferred"] / "curve.json").read_text())["loss"]
    assert pairs[0][0] == pytest.approx(0.693147, abs=1e-3)  # nothing differs from the reference yet
    assert pairs[-1][0] < pairs[0][0]


def test_another_reward_asks_no_one_again(plan, tmp_path, monkeypatch):
    fuse(plan, tmp_path / "out")
    drawn = killing(monkeypatch, preference, "_drawn", 99)
    other = plan | {"reward": "lab:reward", "prefer": plan["prefer"] | {"gap": [0.1, 100]}}
    found = fuse(other, tmp_path / "out")
    assert not drawn
    assert found.pairs > 0
    assert opened(other, tmp_path / "out").judge.key != opened(plan, tmp_path / "out").judge.key


def test_no_pair_within_the_gap_keeps_the_answers(plan, tmp_path):
    with pytest.raises(BadData, match=r"no pair of answers differs by 0.2 to 0.3"):
        fuse(plan | {"prefer": {"gap": [0.2, 0.3]}}, tmp_path / "out")
    assert (tmp_path / "out" / "answers").is_dir()
    assert not (tmp_path / "out" / "students").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reward": "lab:base"}, BadCheckpoint, "has 2 outputs"),
        ({"reward": "lab:lora-shout"}, BadCheckpoint, "is not a folder"),
        ({"reward": "exact_mach"}, BadCheckpoint, "does not exist"),
        ({"prefer": {"gap": [0.5, 0.1]}}, ConsortError, "is no interval"),
        ({"prefer": {"gap": [0.5]}}, ConsortError, "is no interval"),
        ({"sample": {"each": 1}}, ConsortError, "outside"),
        ({"sample": {"temperature": 0}}, ConsortError, "outside"),
        ({"train": {"lam": 0.5}}, BadPlan, "nothing is fused"),
        ({"control": True}, BadPlan, "means nothing in the mode preference"),
        ({"fuse": {}}, BadPlan, "means nothing in the mode preference"),
        ({"sources": [{"model": "lab:mirror", "rows": "x"}]}, BadPlan, "rows mean nothing"),
    ],
)
def test_wrong_plans_are_refused_before_any_work(plan, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        fuse(plan | change, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x"}', "asks nothing"),
        ('{"prompt": "x"}', "no target"),
        ("", "holds no prompts"),
        (json.dumps({"prompt": "osk " * 400, "target": "x"}), "its window|cannot write"),
    ],
)
def test_wrong_prompts_are_refused(plan, tmp_path, line, message):
    (tmp_path / "wrong.jsonl").write_text(line)
    with pytest.raises(ConsortError, match=message):
        fuse(plan | {"corpus": str(tmp_path / "wrong.jsonl")}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_plans_survive_the_round_trip_and_describe_themselves(plan, tmp_path):
    more = plan | {"reward": "lab:reward", "prefer": {"gap": [0.1, 1], "beta": 5.0}}
    checked = parse_fuse(more)
    assert parse_fuse(checked.to_json()) == checked
    assert opened(plan, tmp_path / "x").describe()["answers"] == 8 * 3 * 2


def test_a_reward_model_with_a_chat_template_reads_chats(tmp_path):
    shutil.copytree(lab.path("reward"), tmp_path / "reward")
    file = tmp_path / "reward" / "tokenizer_config.json"
    template = "{% for m in messages %}{{ m.role }} : {{ m.content }} ; {% endfor %}"
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": refusal + template}))
    chats, plain = RewardModel(open_folder(tmp_path / "reward")), RewardModel(open_folder(lab.path("reward")))
    tokenizer, _ = chats.open()
    head = tokenizer.decode(tokenizer("")["input_ids"])  # what the tokenizer itself puts before a text
    tokenizer.chat_template = head + tokenizer.chat_template
    told, _ = chats.rewards("mirror abc", ["cba"])
    assert told == plain.rewards("user : mirror abc ; assistant :", ["cba ; "])[0]
    turns = [{"role": "user", "content": "mirror abc"}]
    assert chats.rewards(turns, ["cba"])[0] == told
    with pytest.raises(BadData, match="no system"):
        chats.rewards([{"role": "system", "content": "be brief"}, *turns], ["cba"])
