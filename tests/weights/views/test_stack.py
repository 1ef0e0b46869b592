"""Layers stacked anew."""

from __future__ import annotations

import json

import pytest
import torch

from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.merge import merge
from consort.plan import dump, parse, to_plan
from consort.weights import Memory, Slice, Stack, interleave, upscale
from consort.weights.layers import after_layers, split


def model(value, layers=4, name="m", tied=False, **config):
    tensors = {"model.embed_tokens.weight": torch.full((3, 2), value)}
    tensors |= {f"model.layers.{i}.mlp.up_proj.weight": torch.full((2, 2), value + i / 10) for i in range(layers)}
    tensors |= {"model.norm.weight": torch.full((2,), value)}
    tensors |= {} if tied else {"lm_head.weight": torch.full((3, 2), value)}
    found = {"num_hidden_layers": layers, "hidden_size": 2, "vocab_size": 3, "tie_word_embeddings": tied}
    return Memory(tensors, found | config, name=name, files={"chat_template.jinja": name.encode()})


def layers_of(stacked):
    names = [name for name in stacked.keys() if ".layers." in name]
    return [round(stacked[name][0, 0].item(), 1) for name in names]


def test_layers_are_numbered_anew():
    a, b = model(1.0, name="a"), model(2.0, name="b")
    stacked = Stack([Slice(a, (0, 2)), Slice(b, (1, 4))])
    assert stacked.keys() == [
        "model.embed_tokens.weight",
        *(f"model.layers.{i}.mlp.up_proj.weight" for i in range(5)),
        "model.norm.weight",
        "lm_head.weight",
    ]
    assert layers_of(stacked) == [1, 1.1, 2.1, 2.2, 2.3]
    assert stacked.config["num_hidden_layers"] == 5
    assert stacked["model.embed_tokens.weight"][0, 0] == 1
    assert stacked["model.norm.weight"][0] == 2 and stacked["lm_head.weight"][0, 0] == 2
    assert stacked.name == "stack(a[0:2], b[1:4])" and stacked.inputs == (a, b)
    assert (
        stacked.files() == {"chat_template.jinja": b"a"}
        and Stack(stacked.slices, base=b).files()["chat_template.jinja"] == b"b"
    )


def test_lists_of_the_configuration_follow_their_layers():
    kinds = ["full", "sliding", "full", "sliding"]
    a = model(1.0, layer_types=kinds, mlp_only_layers=[0, 3], eos_token_id=[1, 2, 3, 4])
    stacked = Stack([Slice(a, (0, 3)), Slice(a, (1, 4))])
    assert stacked.config["layer_types"] == ["full", "sliding", "full", "sliding", "full", "sliding"]
    assert stacked.config["mlp_only_layers"] == [0, 5] and stacked.config["eos_token_id"] == [1, 2, 3, 4]


def test_depth_up_scaling():
    stacked = upscale(model=model(1.0), drop=1)
    assert layers_of(stacked) == [1, 1.1, 1.2, 1.1, 1.2, 1.3]
    with pytest.raises(BadParameter, match="leaves none"):
        upscale(model=model(1.0), drop=4)


def test_interleaving():
    stacked = interleave(models=[model(1.0), model(2.0)], block=2)
    assert layers_of(stacked) == [1, 1.1, 2.2, 2.3]
    assert layers_of(interleave(models=[model(1.0), model(2.0)])) == [1, 2.1, 1.2, 2.3]
    with pytest.raises(Incompatible, match="numbers of layers differ"):
        interleave(models=[model(1.0), model(2.0, layers=3)])


def test_interleaving_every_layer_of_every_model():
    three = [model(1.0, layers=3), model(2.0, layers=3)]
    stacked = interleave(models=three, depth="sum")
    assert layers_of(stacked) == [1, 2, 1.1, 2.1, 1.2, 2.2]
    assert stacked.config["num_hidden_layers"] == 6
    assert layers_of(interleave(models=[three[0], model(2.0, layers=1)], depth="sum")) == [1, 2, 1.1, 1.2]
    assert layers_of(interleave(models=three, depth="sum", block=2)) == [1, 1.1, 2, 2.1, 1.2, 2.2]
    with pytest.raises(BadParameter, match="is not same"):
        interleave(models=three, depth="all")


def test_a_tied_model_stays_tied_where_its_ends_are_one_tensor():
    a, b = model(1.0, tied=True), model(2.0, tied=True)
    assert upscale(model=a, drop=1).config["tie_word_embeddings"] is True
    both = Stack([Slice(a, (0, 2)), Slice(b, (2, 4))])
    assert both.config["tie_word_embeddings"] is False and both["lm_head.weight"][0, 0] == 2
    same = [merge("linear", [Stack([Slice(m, (i, i + 2))], first_layer=i) for m in (a, b)]) for i in (0, 2)]
    alike = Stack([Slice(m, (i, i + 2)) for i, m in zip((0, 2), same, strict=True)])
    assert alike.config["tie_word_embeddings"] is True and "lm_head.weight" not in alike.keys()


def test_an_untied_head_stays():
    mixed = Stack([Slice(model(1.0, tied=True), (0, 2)), Slice(model(2.0), (2, 4))])
    assert mixed.config["tie_word_embeddings"] is False and mixed["lm_head.weight"][0, 0] == 2


def test_ends_of_different_vocabularies_are_refused():
    words = [{"model": {"type": "WordLevel", "vocab": {"a": 0, token: 1, "c": 2}}} for token in "bd"]
    one, other = (model(1.0, name=name) for name in "xy")
    for ckpt, found in zip((one, other), words, strict=True):
        ckpt._files["tokenizer.json"] = json.dumps(found).encode()
    Stack([Slice(one, (0, 2)), Slice(other, (0, 2)), Slice(one, (2, 4))])
    for slices, base in (([Slice(one, (0, 2)), Slice(other, (2, 4))], None), ([Slice(one, (0, 4))], other)):
        with pytest.raises(Incompatible, match="'b'"):
            Stack(slices, base=base)


def test_stacks_of_stacks_and_rounding():
    inner = Stack([Slice(model(1.0), (1, 4))], first_layer=5, dtype="bfloat16")
    assert inner.spec("model.layers.5.mlp.up_proj.weight").dtype == torch.bfloat16
    outer = Stack([Slice(inner, (6, 8))])
    assert layers_of(outer) == [1.2, 1.3] and outer.config["num_hidden_layers"] == 2


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Stack([]), BadParameter, "there is none"),
        (lambda: Stack([Slice(model(1.0), (1, 1))]), BadParameter, r"\[1, 1\] holds no layer"),
        (lambda: Stack([Slice(model(1.0), (2, 5))]), BadParameter, "not inside"),
        (lambda: Stack([Slice(model(1.0), (0, 1))], dtype="int8"), BadParameter, "dtype"),
        (lambda: Stack([Slice(model(1.0, layers=0), (0, 1))]), Unsupported, "no stacks of layers"),
        (
            lambda: Stack([Slice(model(1.0), (0, 2)), Slice(model(1.0, rope_theta=5.0), (2, 4))]),
            Incompatible,
            "rope",
        ),
    ],
)
def test_what_cannot_be_stacked(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_names_outside_the_layers():
    after = ["model.norm.weight", "lm_head.weight", "transformer.ln_f.bias", "score.weight"]
    before = [
        "model.embed_tokens.weight",
        "word_embeddings_layernorm.weight",
        "wpe.weight",
        "model.layers.0.norm.weight",
    ]
    assert [after_layers(name) for name in after + before] == [True] * 4 + [False] * 4
    assert split("transformer.h.3.attn.c_attn.weight") == ("transformer.h.", 3, ".attn.c_attn.weight")


def test_plans_know_stacks():
    document = {
        "stack": {"slices": [{"model": "lab:mirror", "layers": [0, 2]}, {"model": "lab:order", "layers": [2, 4]}]}
    }
    plan = parse(document)
    assert dump(plan) == document
    from consort.plan import build

    assert to_plan(build(plan, "checkpoint")) == document
    built = build(parse({"upscale": {"model": "lab:mirror", "drop": 1}}), "checkpoint")
    assert built.config["num_hidden_layers"] == 6
    assert to_plan(built)["stack"]["slices"][1] == {"model": "lab:mirror", "layers": [1, 4]}
