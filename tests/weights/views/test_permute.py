"""Reordered units and heads: the same function, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consort.core.errors import Incompatible, Unsupported
from consort.weights.checkpoint import Memory
from consort.weights.views.permute import Order, Permuted, aligned_to, match_groups
from consort.weights.views.units import units_of

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 32}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
FAMILIES = {
    "llama": SIZES | HEADS | {"attention_bias": True, "mlp_bias": True},
    "qwen3": SIZES | HEADS,
    "phi3": SIZES | HEADS | {"pad_token_id": 0},
    "olmo2": SIZES | HEADS,
    "gpt2": {"n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 16, "vocab_size": 32},
}


def decoder(family, seed=0):
    """A random model of transformers and its checkpoint."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **FAMILIES[family])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = AutoModelForCausalLM.from_config(config).eval()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return module, Memory(tensors, config.to_dict(), name=f"{family}{seed}")


def shuffled(model, seed=1):
    random = np.random.default_rng(seed)

    def order(units):
        inner = np.array([random.permutation(units.inner) for _ in range(units.count)], dtype=int)
        groups = random.permutation(units.count)
        return Order(groups, (groups[:, None] * units.inner + inner).reshape(-1))

    return Permuted(model, order)


@torch.no_grad()
def logits(module, checkpoint):
    module.load_state_dict({name: checkpoint[name] for name in checkpoint.keys()})
    return module(input_ids=torch.tensor([[1, 5, 9, 20, 3, 7]])).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_the_function_stays_and_the_copy_is_restored(family):
    module, model = decoder(family)
    moved = shuffled(model)
    assert {bool(units.inner) for units in moved.units} == {True, False}
    changed = [name for name in model.keys() if not moved[name].equal(model[name])]
    assert len(changed) >= 8
    torch.testing.assert_close(logits(module, moved), logits(module, model), rtol=1e-5, atol=1e-5)
    restored = aligned_to(moved, model)
    assert all(restored[name].equal(model[name]) for name in model.keys())


def test_ranges_of_any_kind_are_read():
    _, model = decoder("llama")
    moved = shuffled(model)
    for name in ("model.layers.0.self_attn.o_proj.weight", "model.layers.1.mlp.up_proj.bias"):
        whole = moved[name].view(-1)
        for start, stop in ((0, 7), (5, 21), (17, 24)):
            part = torch.empty(stop - start)
            moved.read_into(name, start, stop, part)
            assert part.equal(whole[start:stop])


def test_aligning_a_changed_copy_lessens_the_distance():
    _, model = decoder("qwen3")
    other = Memory({n: model[n] + 0.05 * torch.ones(model[n].shape) for n in model.keys()}, model.config)
    moved = shuffled(other)
    aligned = aligned_to(moved, model)
    assert all(aligned[name].equal(other[name]) for name in model.keys())


def test_groups_and_the_heads_inside_are_matched_together():
    inner = np.zeros((4, 4))
    inner[0, 3] = inner[1, 2] = inner[2, 1] = inner[3, 0] = 1
    found = match_groups(np.zeros((2, 2)), inner)
    assert found.units.tolist() == [1, 0] and found.inner.tolist() == [3, 2, 1, 0]
    assert match_groups(np.diag([9.0, 9]), inner).units.tolist() == [0, 1]


def test_modules_with_unknown_tensors_are_left_alone():
    _, model = decoder("llama")
    tensors = {name: model[name] for name in model.keys()}
    for name in ("sinks", "sinks.scale"):
        strange = Memory(tensors | {f"model.layers.0.self_attn.{name}": torch.zeros(4)}, model.config)
        found = [units.module.removeprefix("model.layers.") for units in units_of(strange)]
        assert found == ["0.mlp", "1.self_attn", "1.mlp"]


def test_other_shapes_and_models_without_units_are_refused():
    _, model = decoder("llama")
    small = Memory({name: model[name][:2] for name in model.keys()}, model.config, name="small")
    with pytest.raises(Incompatible, match="llama0 and small: .*down_proj.weight is"):
        aligned_to(model, small)
    with pytest.raises(Unsupported, match="no units"):
        aligned_to(Memory({"w": torch.zeros(2, 2)}, {}), model)
