"""Coefficients by groups of layers (check 9.5)."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.search.spaces.layer_groups import LayerGroups
from consort.weights.checkpoint import Memory


def model(value, layers=10):
    names = [f"model.layers.{i}.{part}.weight" for i in range(layers) for part in ("mlp.up_proj", "input_layernorm")]
    names = ["model.embed_tokens.weight", *names, "model.norm.weight", "lm_head.weight"]
    return Memory({name: torch.full((2, 2), float(value)) for name in names}, {}, name=f"m{value}")


def test_every_layer_has_exactly_one_group():
    space = LayerGroups((model(1), model(2)), blocks=4)
    by_layer = [{space.group(n) for n in space.names if f"layers.{i}." in n} for i in range(10)]
    assert all(len(groups) == 1 for groups in by_layer)
    found = [groups.pop() for groups in by_layer]
    assert found == sorted(found) and set(found) == {0, 1, 2, 3}
    assert sum(found.count(group) for group in range(4)) == 10
    outside = {space.group(n) for n in space.names if "layers" not in n}
    assert outside == {4}
    assert space.domain.dim == 2 * (4 + 1) and [list(g) for g in space.domain.groups][4] == [8, 9]


def test_a_point_weighs_each_group():
    space = LayerGroups((model(1), model(2)), blocks=2, base=model(0))
    merged = space.checkpoint([1, 0, 0, 1, 0.5, 0.5])
    assert float(merged["model.layers.4.mlp.up_proj.weight"][0, 0]) == 1.0
    assert float(merged["model.layers.5.mlp.up_proj.weight"][0, 0]) == 2.0
    assert float(merged["lm_head.weight"][0, 0]) == 1.5


def test_the_starts_are_the_models():
    space = LayerGroups((model(1), model(2)), blocks=3)
    for start, one in zip(space.domain.starts, space.models, strict=True):
        merged = space.checkpoint(start)
        assert all(torch.equal(merged[name], one[name]) for name in merged.keys())


def test_wrong_numbers_are_refused():
    with pytest.raises(BadParameter, match="10 layers make no 11 blocks"):
        LayerGroups((model(1),), blocks=11)
    with pytest.raises(BadParameter, match="no point of 6 coordinates"):
        LayerGroups((model(1), model(2)), blocks=2).checkpoint([1.0])
