"""`fit` of a compressor that learns: RECOMP's abstractive one learns from its reader when to stay empty."""

from __future__ import annotations

import json

import pytest

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressors.abstractive import Abstractive
from consort.cooperate.compress.summaries import targets
from consort.core.errors import BadCheckpoint, Incompatible, Unsupported
from consort.core.marked import Marked
from consort.models import FakeModel
from consort.testing.built import open_model

HELPS, NOT = "The key is red. It rained. ", "Bob ate soup. It rained. "


class Reader:
    """Surer of an answer that stands in its prompt."""

    name = "reader"

    def score(self, pairs):
        return [-1.0 if answer.strip() in context else -9.0 for context, answer in pairs]


def cases(count=6):
    prompts = [Marked.beside("key?", [(HELPS, NOT)[i % 2]]) for i in range(count)]
    return prompts, ["red"] * count


def test_a_summary_is_learned_where_it_helps_and_nothing_where_it_does_not():
    found = targets(*cases(2), Reader(), lambda asked: ["It rained."] * len(asked))
    assert [one.summary for one in found] == ["The key is red.", ""]
    assert found[0].asked.startswith("The key is red. It rained.\n\nQuestion: key?")


def test_candidates_are_the_teachers_and_single_sentences():
    found = targets(*cases(1), Reader(), lambda asked: ["Key: red"])
    assert found[0].summary == "Key: red", "of equals the first"
    with pytest.raises(Unsupported, match="log-likelihoods"):
        targets(*cases(1), FakeModel({}), lambda asked: asked)


def test_it_learns_when_to_stay_empty(tmp_path):
    model = Abstractive(open_model(0), rate=0.7, rank=16, steps=100, lr=1e-2)
    prompts, answers = cases()
    told = model.learn(prompts, answers, Reader(), tmp_path / "own.safetensors")
    assert told["targets"] == 6 and told["empty"] == 3 and told["loss"] < 1.5
    short = [model.compress([Part(text), Part("key?", "question")], Budget(rate=0.7))[0].text for text in (HELPS, NOT)]
    assert short == ["The key is red. ", ""]
    again = Abstractive(open_model(0), rate=0.7, rank=16, state=str(tmp_path / "own.safetensors"))
    assert again.compress([Part(HELPS), Part("key?", "question")])[0].text == short[0]


def test_what_was_learned_is_for_one_model(tmp_path):
    prompts, answers = cases(2)
    made = Abstractive(open_model(0), rank=2, steps=1)
    made.learn(prompts, answers, Reader(), tmp_path / "own.safetensors")
    with pytest.raises(Incompatible, match="other weights"):
        _ = Abstractive(open_model(1), rank=2, state=made.state).writer
    with pytest.raises(BadCheckpoint, match="rank"):
        _ = Abstractive(open_model(0), rank=3, state=made.state).writer


def test_fit_writes_the_state_beside_the_plan(tmp_path):
    from consort.plan import build, read_plan
    from consort.runs.fit import fit

    lines = [{"prompt": f"say {w} .", "context": f"{w} {w} {w}. no.", "target": w} for w in "abcdefghijklmnop"]
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps({**line, "split": "dev"}) + "\n" for line in lines))
    plan = tmp_path / "plan.yml"
    plan.write_text(
        "compressed: {model: lab:base, compressor: {abstractive: {model: lab:base, rate: 0.5, rank: 2, steps: 2}}}\n"
    )
    outcome = fit(plan, tmp_path / "out", task=task)
    assert (tmp_path / "out/compressor.safetensors").is_file()
    told = json.loads((tmp_path / "out/results.json").read_text())["details"]["fit"]
    assert told["kept"] == outcome.kept and told["targets"] > 0
    model = build(read_plan(tmp_path / "out/plan.yml"), "model")
    assert (model.compressor.state is not None) == outcome.kept
    assert model.generate([Marked.beside("say a .", ["a a a. no."])])
