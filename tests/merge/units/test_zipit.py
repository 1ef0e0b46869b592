"""Two models zipped: paired units, the same function."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from consort import lab
from consort.core.errors import BadData, BadParameter, Unsupported
from consort.merge import merge
from consort.merge.units.zipit import Zipit, paired
from consort.models import load_model
from consort.plan import build, dump, parse, to_plan
from consort.weights import open_folder
from consort.weights.checkpoint import Memory
from consort.weights.views.permute import Order, Permuted

TEXTS = ["mirror a b c = c b a", "order d b a c f = a b c d f", "copy x y z = x y z", "shout q r s ="]


@pytest.fixture(scope="module")
def order():
    return open_folder(lab.path("order"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return str(file)


def shuffled(model):
    random = np.random.default_rng(0)

    def order(units):
        heads = np.arange(units.count)
        return Order(heads if units.inner else random.permutation(units.count), np.arange(units.count * units.inner))

    return Permuted(model, order)


@torch.no_grad()
def logits(model):
    return load_model(model).module(torch.tensor([[1, 7, 30, 12, 3, 9]])).logits


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("by", ["weights", "activations"])
def test_a_model_and_its_rearranged_copy_give_the_same_function(order, texts, by, within):
    zipped = Zipit([order, shuffled(order)], texts=texts if by == "activations" else None, within=within)
    wanted = logits(order)
    torch.testing.assert_close(logits(zipped), wanted, rtol=1e-5, atol=1e-5)
    plain = logits(merge("linear", [order, shuffled(order)]))
    assert float((plain - wanted).abs().max()) > 0.1


def test_pairs_go_by_likeness():
    likeness = np.array([[1.0, 0.9, 0.5, 0.1], [0.9, 1, 0.8, 0.7], [0.5, 0.8, 1, 0.6], [0.1, 0.7, 0.6, 1]])
    assert paired(likeness, True).tolist() == [[0, 1], [2, 3]]
    assert paired(likeness, False).tolist() == [[0, 2], [1, 3]]
    assert sorted(paired(np.ones((6, 6)), True).reshape(-1).tolist()) == list(range(6))


def test_a_unit_of_a_pair_is_the_mean(order):
    mirror = open_folder(lab.path("mirror"))
    zipped = Zipit([order, mirror])
    [units] = [units for units in zipped.units if units.module == "model.layers.1.mlp"]
    one, other = zipped.pairs(units)[7]
    for name, axis in (("up_proj", 0), ("down_proj", 1)):
        key = f"model.layers.1.mlp.{name}.weight"
        both = torch.cat([model[key].float() for model in (order, mirror)], axis)
        wanted = (both.select(axis, int(one)) + both.select(axis, int(other))) / 2
        assert zipped[key].select(axis, 7).equal(wanted.to(zipped.spec(key).dtype))
    key = "model.layers.1.self_attn.q_proj.weight"
    assert zipped[key].equal(merge("linear", [order, mirror])[key])


def test_plans_name_it(texts):
    plan = parse({"zipit": {"models": ["lab:order", {"permute": {"model": "lab:mirror", "to": "lab:order"}}]}})
    zipped = build(plan, "checkpoint")
    assert parse(to_plan(zipped)) == plan == parse(dump(plan)) and zipped.texts is None


def test_wrong_inputs_are_refused(order, tmp_path):
    with pytest.raises(BadParameter, match="zipit merges 2 models, not 1"):
        Zipit([order])
    with pytest.raises(BadData, match="no such file"):
        Zipit([order, order], texts=str(tmp_path / "absent.jsonl"))
    bare = Memory({"w": torch.zeros(2, 2)}, {}, name="bare")
    with pytest.raises(Unsupported, match="bare: has no MLP units"):
        Zipit([bare, bare])
