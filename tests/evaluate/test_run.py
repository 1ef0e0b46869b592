from __future__ import annotations

import json
import math

import numpy as np
import pytest

from consort.core.errors import BadCheckpoint, BadData, BadParameter, Unsupported
from consort.core.types import Completion, Usage
from consort.data.task import load_task
from consort.evaluate import Result, evaluate, objective

SUMS = [{"prompt": f"{i}+{i}=", "target": str(2 * i), "group": "odd" if i % 2 else "even", "split": s}
        for s in ("dev", "test") for i in (range(8) if s == "test" else range(10, 30))]  # fmt: skip


def test_scores_groups_and_cost(rote, task_of):
    model = rote("half", {f"{i}+{i}=": str(2 * i) for i in (0, 2, 4, 5)}, default="?")
    found = evaluate(model, task_of(SUMS), keep_answers=True, batch=3)
    assert (
        found.score == 0.5 and found.scores == (1, 0, 1, 0, 1, 1, 0, 0) and found.groups == {"even": 0.75, "odd": 0.25}
    )
    assert found.cost == {"half": Usage(24, 8, 8)} and found.tokens == 32 and found.count == 8
    assert found.answers[:2] == ("0", "?") and found.interval[0] < 0.5 < found.interval[1]
    assert found.seconds_per_example >= 0 and found.is_single


def test_a_result_survives_json(rote, task_of):
    found = evaluate(rote("m", {}), task_of(SUMS))
    assert Result.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"score": None}, "score"),
        ({"score": math.nan}, "score"),
        ({"statistics": [[1]]}, "statistics"),
        ({"statistics": []}, "statistics"),
        ({"interval": [1]}, "interval"),
        ({"cost": []}, "cost"),
        ({"usage": {"calls": 1}}, "usage"),
        ({"answers": [1]}, "answers"),
    ],
)
def test_a_damaged_result_is_refused(rote, task_of, change, field):
    value = evaluate(rote("m", {}), task_of(SUMS)).to_json()
    for damaged in (value | change, {k: v for k, v in value.items() if k != field}):
        with pytest.raises(BadData) as caught:
            Result.from_json(damaged)
        assert caught.value.field == field


def test_splits_and_limit(rote, task_of):
    task, model = task_of(SUMS), rote("m", {})
    fit, held_out = (evaluate(model, task, split=s) for s in ("fit", "held_out"))
    assert (fit.count, held_out.count, fit.split) == (10, 10, "fit") and fit.examples_key != held_out.examples_key
    assert evaluate(model, task, limit=3).count == 3
    with pytest.raises(BadParameter, match="limit"):
        evaluate(model, task, limit=0)
    assert objective(task)(model) == 0.0


def test_nothing_is_asked_when_a_target_cannot_be_graded(rote, task_of):
    model = rote("m", {})
    task = task_of([{"prompt": "a", "target": "1"}, {"prompt": "b", "target": "one"}], metric="numeric")
    with pytest.raises(BadData) as caught:
        evaluate(model, task)
    assert caught.value.field == "task (test): line 2: target" and not model.asked


def test_chats_stop_and_inner_costs(task_of):
    class Duo:
        name = "duo"

        def generate(self, prompts, sampling):
            assert prompts == [[{"role": "user", "content": "hi"}]] and (sampling.max_tokens, sampling.stop) == (
                3,
                (";",),
            )
            return [Completion("yo", usage=Usage(1, 1, 1), cost={"a": Usage(1, 1, 1), "b": Usage(2, 2, 1)})]

    chat = [{"messages": [{"role": "user", "content": "hi"}], "target": "yo"}]
    found = evaluate(Duo(), task_of(chat, max_tokens=3, stop=";"))
    assert found.score == 1 and found.tokens == 6 and found.usage.total_tokens == 2 and not found.is_single


CHOICES = [
    {"prompt": "a", "choices": [" x", " yy"], "answer": 1},
    {"prompt": "b", "choices": [" yy", " x"], "answer": 1},
]


def test_choice_asks_for_every_continuation(uniform, task_of):
    model = uniform("u", 0.5)
    found = evaluate(model, task_of(CHOICES, metric="choice"))
    assert found.scores == (0, 1) and model.pairs[:2] == [("a", " x"), ("a", " yy")]
    assert found.tokens == found.usage.prompt_tokens == 4 + 5 + 5 + 4 and found.usage.calls == 4
    assert evaluate(uniform("v", 0.5, liked=" yy"), task_of(CHOICES, metric="choice")).scores == (1, 0)


def test_choice_of_a_chat_uses_the_template(uniform, task_of):
    model = uniform("u", 0.5)
    row = {"messages": [{"role": "user", "content": "q"}], "choices": ["a", "bb"], "answer": 0}
    assert evaluate(model, task_of([row], metric="choice")).score == 1
    assert model.pairs == [("<user>q", "a"), ("<user>q", "bb")]


def test_perplexity_is_weighted_by_tokens_and_reported_in_bits(uniform, task_of):
    task = task_of([{"text": "abcd"}, {"text": "é"}, {"text": "x" * 300}], metric="perplexity", max_length=6)
    found = evaluate(uniform("u", 1 / 8), task)
    assert found.score == pytest.approx(-math.log(8)) and found.figures["perplexity"] == pytest.approx(8)
    # 4 characters in 4 bytes, one in 2 bytes, 5 of 300 within 6 tokens with bos
    assert [row[1:] for row in found.statistics] == [(4, 4), (1, 2), (5, 5)]
    assert found.figures["bits_per_byte"] == pytest.approx(3 * 10 / 11) and found.figures["truncated"] == 1


def test_without_bos_the_first_token_is_given(uniform, task_of):
    found = evaluate(uniform("u", 0.5), task_of([{"text": "abcd"}], metric="perplexity", bos=False))
    assert found.statistics[0][1:] == (3, 3)
    with pytest.raises(BadData, match="too short"):
        evaluate(uniform("u", 0.5), task_of([{"text": "a"}], metric="perplexity", bos=False))


def test_a_missing_ability_is_named(rote, uniform, task_of):
    with pytest.raises(Unsupported, match="m: the metric choice needs score") as caught:
        evaluate(rote("m", {}), task_of(CHOICES))
    assert caught.value.hint
    with pytest.raises(Unsupported, match="no logprobs and no tokenizer"):
        evaluate(rote("m", {}), task_of([{"text": "a"}]), split="test" if task_of([{"text": "a"}]).test else "dev")
    with pytest.raises(Unsupported, match="needs generate"):
        evaluate(uniform("u", 0.5), task_of(SUMS))


def test_nan_is_no_score(uniform, task_of):
    class Broken(uniform):
        def logprobs(self, token_lists):
            return [np.full(len(t) - 1, np.nan) for t in token_lists]

    with pytest.raises(BadCheckpoint, match="not finite"):
        evaluate(Broken("broken", 0.5), task_of([{"text": "abc"}], metric="perplexity"))


@pytest.mark.parametrize(
    ("name", "perplexity"), [("stories260K", 4.67), ("bit-3M", 4.093), ("stories260K-qat-strong", 9.66)]
)
def test_published_perplexities(shared, tmp_path, name, perplexity):
    models = pytest.importorskip("consort.models")
    stories = (shared / "eval" / "tinystories" / "stories.jsonl").resolve()
    (tmp_path / "stories.yml").write_text(f"test: {json.dumps(str(stories))}\nmetric: perplexity\nmax_length: 256\n")
    model = models.load_model(shared / "models" / name)
    found = evaluate(model, load_task(tmp_path / "stories.yml"), limit=100)
    assert found.figures["perplexity"] == pytest.approx(perplexity, abs=0.005) and found.count == 100
