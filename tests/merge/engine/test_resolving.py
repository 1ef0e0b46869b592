"""Parameters that differ by layer and by tensor."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge
from consort.merge.engine.resolving import depths
from consort.weights.views.stack import Slice, Stack

NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.{part}.weight" for i in range(4) for part in ("self_attn.q_proj", "mlp.up_proj")),
    "model.norm.weight",
    "lm_head.weight",
]


@pytest.fixture
def model(memory):
    return lambda value: memory({name: torch.full((2, 2), float(value)) for name in NAMES})


def test_depth_runs_from_embedding_to_head():
    found = depths(NAMES)
    assert [found[name] for name in NAMES] == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1, 1, None, None])
    assert depths(["h.7.mlp", "wte.weight", "ln_f.weight"]) == {"h.7.mlp": 1, "wte.weight": 0, "ln_f.weight": None}


def test_each_stack_of_layers_has_its_own_depth():
    names = [f"encoder.block.{i}.a" for i in range(3)] + [f"decoder.block.{i}.a" for i in range(2)]
    assert list(depths(names).values()) == [0, 0.5, 1, 0, 1]


def test_a_gradient_over_four_layers(model):
    merged = merge("task_arithmetic", [model(1)], base=model(0), weight={"by_layer": [0, 0.3, 1]})
    found = [merged[name][0, 0].item() for name in NAMES]
    assert found == pytest.approx([0, 0, 0, 0.2, 0.2, 0.533333, 0.533333, 1, 1, 1, 1])
    assert merged.resolve("lm_head.weight")["weight"] == (1,)


def test_rules_for_each_model(model):
    rules = {"by_name": [{"match": "mlp", "value": {"by_layer": [0, 1]}}, {"value": 1}]}
    merged = merge("linear", [model(0), model(1)], weight=[1, rules])
    assert merged["model.layers.0.mlp.up_proj.weight"][0, 0] == 0
    assert merged["model.layers.3.mlp.up_proj.weight"][0, 0] == 0.5
    assert merged["lm_head.weight"][0, 0] == 0.5


def test_where_no_rule_matches_the_default_holds(model):
    rules = {"by_name": [{"match": "mlp", "value": 0}]}
    merged = merge("task_arithmetic", [model(1)], base=model(0), weight=rules)
    assert merged["model.layers.0.mlp.up_proj.weight"][0, 0] == 0 and merged["model.norm.weight"][0, 0] == 1
    with pytest.raises(BadParameter, match="t: no rule matches model.embed_tokens.weight"):
        merge("slerp", [model(1)], base=model(0), t=rules)


def test_a_rule_that_reaches_no_tensor_is_refused(model):
    rules = {"by_name": [{"match": "up_prj", "value": 0.5}, {"value": 1}]}
    with pytest.raises(BadParameter, match="weight: no tensor has 'up_prj' in its name"):
        merge("linear", [model(0), model(1)], weight=rules)


def test_in_a_slice_layers_of_other_slices_may_be_named(model):
    cut = Stack([Slice(model(1), (0, 2))])
    for text in ("layers.3.", "layers.1."):
        merge("linear", [cut], weight={"by_name": [{"match": text, "value": 2}]})
    with pytest.raises(BadParameter, match="lyers"):
        merge("linear", [cut], weight={"by_name": [{"match": "lyers.3.", "value": 2}]})


def test_rules_of_a_model_look_at_its_own_names(model):
    cut = Stack([Slice(model(1), (2, 4))], first_layer=7)
    by_two = {"by_name": [{"match": "layers.2.", "value": 2}]}
    merged = merge("linear", [cut], weight=by_two, normalize=False)
    assert merged["model.layers.7.mlp.up_proj.weight"][0, 0] == 2
    assert merged["model.layers.8.mlp.up_proj.weight"][0, 0] == 1


def test_weights_that_cancel_in_one_tensor_are_refused(model):
    rules = [{"by_name": [{"match": "norm", "value": -1}, {"value": 1}]}, 1]
    with pytest.raises(BadParameter, match="sum to zero.*model.norm.weight"):
        merge("linear", [model(0), model(1)], weight=rules)


def test_a_threshold_of_the_whole_model_is_that_of_each_density(memory):
    values = {"layers.0.a": [10.0, 9.0], "layers.1.a": [1.0, 0.5]}
    base = memory({name: [0.0, 0.0] for name in values})
    merged = merge("ties", [memory(values)], base=base, scope="model", density={"by_layer": [0.25, 1]})
    assert (merged["layers.0.a"].tolist(), merged["layers.1.a"].tolist()) == ([10, 0], [1, 0.5])
