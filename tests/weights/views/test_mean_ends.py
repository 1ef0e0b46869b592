"""Stacks whose embeddings, norm and head are the mean of all models."""

from __future__ import annotations

import json

import pytest
import torch

import consort as c
from consort.core.errors import BadParameter, Incompatible
from consort.models import load_model
from consort.plan import build, dump, parse, to_plan
from consort.weights import Memory, Slice, Stack, interleave

EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def model(value, rows=2, name="m", tied=False, dtype=torch.float32, tokens=None):
    tensors = {EMBEDDING: torch.full((rows, 2), value), "model.layers.0.mlp.up_proj.weight": torch.full((2, 2), value)}
    tensors |= {NORM: torch.full((2,), value)} | ({} if tied else {HEAD: torch.full((rows, 2), 10 * value)})
    config = {"num_hidden_layers": 1, "hidden_size": 2, "vocab_size": rows, "tie_word_embeddings": tied}
    vocabulary = {"model": {"type": "WordLevel", "vocab": {token: i for i, token in enumerate(tokens or [])}}}
    files = {"tokenizer.json": json.dumps(vocabulary).encode()} if tokens else {}
    return Memory({key: tensor.to(dtype) for key, tensor in tensors.items()}, config, name=name, files=files)


def stack(*models, **more):
    return Stack([Slice(one, (0, 1)) for one in models], ends="mean", **more)


def test_every_entry_is_the_mean_over_the_models_that_have_it():
    found = stack(model(1.0), model(4.0, rows=3))
    assert found[EMBEDDING].tolist() == [[2.5, 2.5], [2.5, 2.5], [4, 4]]
    assert found[HEAD].tolist() == [[25, 25], [25, 25], [40, 40]]
    assert found[NORM].tolist() == [2.5, 2.5]
    assert found.config["vocab_size"] == 3
    part = torch.empty(3)
    found.read_into(EMBEDDING, 3, 6, part)
    assert part.tolist() == [2.5, 4, 4]


def test_a_model_counts_once_however_often_it_is_sliced():
    a, b = model(1.0), model(4.0)
    assert stack(a, a, a, b)[NORM].tolist() == [2.5, 2.5]
    assert stack(a, a)[EMBEDDING].tolist() == a[EMBEDDING].tolist()


def test_the_head_of_a_tied_model_is_its_embedding():
    both = stack(model(1.0, tied=True), model(3.0))
    assert both[HEAD].tolist() == [[15.5, 15.5]] * 2
    assert both.config["tie_word_embeddings"] is False
    tied = stack(model(1.0, tied=True), model(3.0, tied=True))
    assert HEAD not in tied.keys() and tied.config["tie_word_embeddings"] is True


def test_half_precision_is_averaged_in_float32():
    found = stack(model(1.0, dtype=torch.bfloat16), model(1.0078125, dtype=torch.bfloat16), model(1.0078125))
    assert found.spec(NORM).dtype == torch.float32
    assert found[NORM].tolist() == pytest.approx([1.0052083] * 2)


def test_tokens_must_mean_one_thing():
    small, large = model(1.0, name="x", tokens="ab"), model(2.0, rows=3, name="y", tokens="abc")
    assert stack(small, large, base=large)[EMBEDDING].shape == (3, 2)
    with pytest.raises(Incompatible, match="'c' is 2 in y, absent in x"):
        stack(small, large)
    with pytest.raises(Incompatible, match="'b' is 1 in y"):
        stack(model(1.0, name="x", tokens="ac"), model(2.0, name="y", tokens="ab"))
    with pytest.raises(BadParameter, match="is not outer"):
        Stack([Slice(small, (0, 1))], ends="last")


def test_a_plan_says_so_and_the_result_runs():
    models = ["lab:base", "lab:mirror"]
    made = build(parse({"interleave": {"models": models, "depth": "sum", "ends": "mean"}}), "checkpoint")
    wanted = (c.load(models[0])[EMBEDDING] + c.load(models[1])[EMBEDDING]) / 2
    torch.testing.assert_close(made[EMBEDDING], wanted)
    plan = to_plan(made)
    assert plan["stack"]["ends"] == "mean" and dump(parse(plan)) == plan
    assert load_model(made).open(1).feed([[1, 5, 7]])[0].isfinite().all()


def test_interleaving_passes_it_on():
    found = interleave(models=[model(1.0), model(4.0)], depth="sum", ends="mean")
    assert found[NORM].tolist() == [2.5, 2.5]
