"""Masks, balances and layer scales: numbers by hand."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge, methods

T1, T2 = [4.0, -2, 1, 0], [-1.0, -3, 2, 5]
BOTH = torch.tensor([T1, T2])


def test_emr(memory):
    assert methods.get("emr")(BOTH).tolist() == [4, -3, 2, 5]
    torch.testing.assert_close(methods.get("emr")(BOTH, task=0), torch.tensor([28 / 9, -21 / 9, 14 / 9, 0]))
    torch.testing.assert_close(methods.get("emr")(BOTH, task=1), torch.tensor([0, -3.3, 2.2, 5.5]))
    assert methods.get("emr")(torch.tensor([[1.0, 2], [-1.0, 2]])).tolist() == [0, 2]
    with pytest.raises(BadParameter, match="there are 2 models"):
        methods.get("emr")(BOTH, task=2)


def test_emr_keeps_the_length_of_each_change_over_the_whole_model(memory):
    models = [memory({"v": t[:1], "w": [t[1:]]}) for t in (T1, T2)]
    base = memory({"v": [0.0], "w": [[0.0, 0, 0]]})
    for task, length in ((0, 7), (1, 11)):
        merged = merge("emr", models, base=base, task=task)
        assert float(merged["v"].abs().sum() + merged["w"].abs().sum()) == pytest.approx(length)


def test_consensus():
    consensus, one = methods.get("consensus"), methods.get("tall_mask")
    assert consensus(BOTH, threshold=0.4).tolist() == [0, -5, 3, 0]
    assert consensus(BOTH, threshold=1).abs().sum() == 0
    assert consensus(BOTH, agreement=0).tolist() == [3, -5, 3, 5]
    assert consensus(BOTH, agreement=3).abs().sum() == 0
    assert one(BOTH, task=0, threshold=0.4).tolist() == [3, -5, 3, 0]
    assert one(BOTH, task=1, threshold=1.0).tolist() == [0, -5, 3, 5]
    assert one(BOTH[:1]).tolist() == T1


def test_pcb():
    assert methods.get("pcb")(BOTH, clamp=0, density=0.5, weight=1).tolist() == [4, 0, 0, 5]
    many = torch.randn(120, 50, generator=torch.Generator().manual_seed(0))
    assert methods.get("pcb")(many).isfinite().all()
    assert methods.get("pcb")(torch.ones(2, 4)).isfinite().all()


def test_localize_and_stitch():
    found = methods.get("localize_and_stitch")(BOTH, density=0.5)
    assert found.tolist() == [4, -2.5, 0, 5]


def test_lines_counts_layers_not_experts(memory):
    names = [f"model.layers.{i}.mlp.experts.3.w1.weight" for i in range(4)]
    shapes = {"model.embed_tokens.weight": [[1.0]], **{n: [[1.0]] for n in names}, "lm_head.weight": [[1.0]]}
    base = memory({name: [[0.0]] for name in shapes})
    found = merge("lines", [memory(shapes)], base=base, alpha=0.25, beta=0.5)
    torch.testing.assert_close(torch.cat([found[n][0] for n in names]), torch.tensor([0.25, 0.416667, 0.583333, 0.75]))
    assert found["model.embed_tokens.weight"].item() == found["lm_head.weight"].item() == 0.25
    last = merge("lines", [memory(shapes)], base=base, alpha=0.25, beta=0.5, outside="last")
    assert last["lm_head.weight"].item() == 0.75
    same = merge("lines", [memory(shapes)], base=base, alpha=1, beta=0)
    assert all(same[n].item() == 1 for n in shapes)
