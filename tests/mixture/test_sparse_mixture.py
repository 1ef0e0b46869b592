"""Sparse mixtures as checkpoints: what stock transformers makes of them, routers, scales, mergekit's files."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort.core.errors import BadCheckpoint, BadParameter, ConsortError, Incompatible, Unsupported
from consort.mixture.gates import linear_gate, write_gates
from consort.mixture.sparse_mixture import SparseMixture
from consort.mixture.weight_mixture import WeightMixture
from consort.models import load_model
from consort.plan.build import build
from consort.plan.expression import dump, parse

IDS = [[1, 5, 7, 20, 33, 8], [1, 9, 4]]


@pytest.fixture(scope="module")
def llama():
    return [c.load(f"lab:{name}") for name in ("base", "mirror", "order", "shout")]


@pytest.fixture(scope="module")
def qwen():
    return [c.load(f"lab:b-{name}") for name in ("base", "peel", "echo")]


def logits(model):
    return model.open(len(IDS)).feed(IDS)


def near(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * float(b.abs().max()), rtol=0)


@pytest.mark.parametrize("family", ["llama", "qwen"])
def test_a_folder_that_stock_transformers_loads(family, request, tmp_path):
    from transformers import AutoModelForCausalLM

    base, *experts = request.getfixturevalue(family)
    mixture = SparseMixture(base, experts, gate="random", experts_per_token=2)
    c.save(mixture, tmp_path / "out", out_dtype=torch.float32)
    module = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert type(module).__name__ == {"llama": "MixtralForCausalLM", "qwen": "Qwen2MoeForCausalLM"}[family]
    with torch.no_grad():
        stock = [module(torch.tensor([ids])).logits[0] for ids in IDS]
    near(logits(load_model(mixture)), stock)
    same = WeightMixture(base, experts, level="ffn", input="token", gate="random", top_k=2)
    near(logits(same), stock)


@pytest.mark.parametrize("family", ["llama", "qwen"])
def test_identical_experts_are_the_dense_model(family, request):
    base = request.getfixturevalue(family)[0]
    near(logits(load_model(SparseMixture(base, [base] * 3, gate="uniform_random"))), logits(load_model(base)))


def test_a_hand_set_router_sends_tokens_to_the_expert_it_names(llama, tmp_path):
    base, mirror, order, _ = llama
    dense = load_model(base)
    states = dense.open(1).feed_hidden([IDS[0]], (2,))[0].hidden[0]
    rows = torch.stack([states.mean(0), -states.mean(0)]) * 100
    write_gates(tmp_path / "gates.safetensors", {layer: linear_gate(rows) for layer in range(4)})
    given = {"state": str(tmp_path / "gates.safetensors"), "level": "model", "num_dense": 2}
    chosen = WeightMixture(base, [mirror, order], **given).open(1)
    chosen.feed([IDS[0]])
    assert chosen.routes.rows[0][2].tolist() == [1, 0]
    other = WeightMixture(base, [order, mirror], **given).open(1)
    near(
        other.feed([IDS[0]]),
        WeightMixture(base, [order], **{**given, "state": "", "gate": "random"}).open(1).feed(IDS[:1]),
    )


def test_scales_and_noise(llama):
    base, mirror, order, _ = llama
    name = "model.layers.1.block_sparse_moe.experts.1.w2.weight"
    there = "model.layers.1.mlp.down_proj.weight"
    plain = SparseMixture(base, [mirror, order], gate="random", residual_scale=[1.0, 0.5])
    torch.testing.assert_close(plain[name].float(), order[there].float() / 2, atol=1e-3, rtol=0)
    noisy = SparseMixture(base, [mirror, order], gate="random", noise_scale=[0.0, 0.1], dtype="float32")
    spread = noisy[name] - order[there].float()
    assert float(spread.std()) == pytest.approx(0.1, rel=0.05)
    part = torch.empty(300)
    noisy.read_into(name, 100, 400, part)
    assert torch.equal(part, noisy[name].flatten()[100:400])


def test_a_shared_expert_is_added(qwen):
    base, peel, echo = qwen
    mixture = SparseMixture(base, [base, base], gate="random", shared=peel, shared_scale=0.0)
    near(logits(load_model(mixture)), logits(load_model(base)))
    assert mixture.config["shared_expert_intermediate_size"] == base.config["intermediate_size"]
    routed = SparseMixture(base, [peel, echo], gate="random", shared=peel, shared_positive=["peel a b ="])
    assert float(routed["model.layers.1.mlp.shared_expert_gate.weight"].abs().sum()) > 0


@pytest.mark.parametrize("gate", ["hidden", "cheap_embed"])
def test_routers_from_prompts_have_rows_of_length_one(llama, gate):
    base, mirror, order, _ = llama
    prompts = [["mirror a b =", "mirror c ="], ["order a b ="]]
    mixture = SparseMixture(base, [mirror, order], gate=gate, positive=prompts, dtype="float32")
    for layer in range(4):
        rows = mixture[f"model.layers.{layer}.block_sparse_moe.gate.weight"]
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2), atol=1e-4, rtol=0)
    assert c.to_plan(mixture)["sparse_mixture"]["positive"] == prompts


def test_mergekits_file():
    expert = {"source_model": "lab:mirror", "positive_prompts": ["mirror a ="]}
    other = {"source_model": "lab:order", "positive_prompts": ["order a ="], "residual_scale": 0.5}
    plan = parse({"base_model": "lab:base", "experts": [expert, other], "dtype": "float32"})
    assert parse(dump(plan)) == plan
    assert dump(plan)["sparse_mixture"] == {
        "base": "lab:base",
        "models": ["lab:mirror", "lab:order"],
        "dtype": "float32",
        "experts_per_token": 2,
        "positive": [["mirror a ="], ["order a ="]],
        "residual_scale": [1.0, 0.5],
    }
    mixture = build(plan, "checkpoint")
    assert mixture.config["num_experts_per_tok"] == 2


@pytest.mark.parametrize(
    ("changed", "field", "says"),
    [
        ({"gate_mod": "hidden"}, "gate_mod", "gate_mode"),
        ({"gate_mode": "hiden"}, "gate_mode", "hidden"),
        ({"experts": []}, "experts", "mergekit-moe"),
        (
            {"experts": [{"source_model": "a", "positive_prompt": ["x"]}]},
            "experts[0].positive_prompt",
            "positive_prompts",
        ),
        ({"experts": [{"positive_prompts": ["x"]}]}, "experts[0].source_model", "names no model"),
        ({"experts": [{"source_model": "a", "noise_scale": "much"}]}, "experts[0].noise_scale", "no scale"),
        ({"shared_experts": [{"source_model": "a"}] * 2}, "shared_experts", "2 shared"),
        ({"architecture": "mixtrall"}, "architecture", "mixtral"),
        ({"base_model": None}, "base_model", "names no model"),
    ],
)
def test_faults_of_mergekits_file(changed, field, says):
    document = {"base_model": "lab:base", "experts": [{"source_model": "lab:mirror", "positive_prompts": ["x"]}]}
    with pytest.raises(ConsortError) as error:
        parse({**document, **changed})
    assert field in (error.value.field or str(error.value))
    assert says in f"{error.value} {error.value.hint}"


def test_wrong_experts_are_refused(llama, qwen, tmp_path):
    base, mirror, order, _ = llama
    with pytest.raises(Incompatible, match="model_type|hidden"):
        SparseMixture(base, [mirror, qwen[1]], gate="random")
    with pytest.raises(BadParameter, match="experts_per_token"):
        SparseMixture(base, [mirror, order], gate="random", experts_per_token=3)
    with pytest.raises(BadParameter, match="positive"):
        SparseMixture(base, [mirror, order])
    with pytest.raises(BadParameter, match="shared"):
        SparseMixture(base, [mirror, order], gate="random", architecture="mixtral", shared=mirror)
    with pytest.raises(Unsupported, match="biases"):
        SparseMixture(qwen[0], qwen[1:], gate="random", architecture="mixtral")
    bad = SparseMixture(base, [mirror, order], state=str(tmp_path / "none.safetensors"))
    with pytest.raises(BadCheckpoint, match="router"):
        bad["model.layers.0.block_sparse_moe.gate.weight"]
