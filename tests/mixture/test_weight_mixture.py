"""Mixtures of weights at run time: routing by prompts, scoring, training of routers, plans, and what is refused."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort.core.errors import BadData, BadParameter, Unsupported
from consort.mixture.gates import Gate, linear_gate, read_gates, top_k, write_gates
from consort.mixture.training import train_router
from consort.mixture.weight_mixture import WeightMixture
from consort.models.decoding.score import score as plain_score
from consort.plan.build import build
from consort.plan.expression import dump, parse
from consort.train import Recipe
from consort.weights.checkpoint import Memory

NAMES = ["mirror", "order", "shout"]
PROMPTS = [[f"{name} a b c =", f"{name} d f =", f"{name} k l m n ="] for name in NAMES]


@pytest.fixture(scope="module")
def base():
    return c.load("lab:base")


@pytest.fixture(scope="module")
def experts():
    return [c.load(f"lab:{name}") for name in NAMES]


@pytest.fixture(scope="module")
def mixture(base, experts):
    return WeightMixture(base, experts, positive=PROMPTS)


def test_top_k_by_hand():
    shares, chosen = top_k(torch.tensor([[1.0, 3.0, 2.0]]).log(), 2)
    assert chosen.tolist() == [[1, 2]]
    torch.testing.assert_close(shares, torch.tensor([[0.6, 0.4]]))


def test_prompts_choose_the_expert_and_its_answer_follows(mixture):
    session = mixture.open(3)
    prompts = [f"{name} p q r =" for name in NAMES]
    session.feed([mixture.tokenizer.encode(prompt) for prompt in prompts])
    assert [int(row[0].argmax()) for row in session.routes.rows] == [0, 1, 2]
    models = [c.model(f"lab:{name}") for name in NAMES]
    wanted = [m.generate([p], c.Sampling(max_tokens=6))[0].text for m, p in zip(models, prompts, strict=True)]
    assert [a.text for a in mixture.generate(prompts, c.Sampling(max_tokens=6))] == wanted


def test_scores_are_routed_by_the_context_alone(mixture, base, experts):
    pairs = [("mirror p q r =", " r q p"), ("order p q r =", " mirror mirror mirror")]
    alone = [WeightMixture(base, [expert], gate="random") for expert in experts[:2]]
    wanted = [plain_score(one, [pair])[0] for one, pair in zip(alone, pairs, strict=True)]
    assert mixture.score(pairs) == pytest.approx(wanted, abs=1e-3)
    assert mixture.score([("mirror a =", ""), pairs[0]]) == pytest.approx([0, wanted[0]], abs=1e-3)


def test_a_row_that_begins_anew_is_routed_anew(mixture):
    first, second = (mixture.tokenizer.encode(f"{name} p q r =") for name in NAMES[:2])
    session = mixture.open(1)
    session.feed([first])
    session.rollback([2])
    session.feed([second[2:]])
    assert int(session.routes.rows[0][0].argmax()) == 0
    session.rollback([0])
    session.feed([second])
    assert int(session.routes.rows[0][0].argmax()) == 1


def test_plans_give_it_again(mixture):
    plan = c.to_plan(mixture)
    again = build(parse(plan), "model")
    assert dump(parse(plan)) == plan
    assert c.to_plan(again) == plan
    assert plan["weight_mixture"]["positive"] == PROMPTS


@pytest.mark.parametrize(
    ("level", "input", "kind"), [("model", "sample", "mlp"), ("block", "sample", "linear"), ("ffn", "token", "mlp")]
)
def test_only_the_routers_learn(base, experts, tmp_path, level, input, kind):
    given = {"level": level, "input": input, "num_dense": 1}
    pairs = [("mirror a b c =", " c b a"), ("order c a =", " a c"), ("shout a b =", " A B"), ("mirror f g =", " g f")]
    mixture = WeightMixture(base, experts, gate="random", **given)
    before = [p.clone() for p in mixture.dense.module.parameters()]
    file = tmp_path / "routers.safetensors"
    losses = [
        train_router(mixture, pairs, file, recipe=Recipe(steps=n, lr=0.01, warmup=0), kind=kind, seed=1)
        for n in (1, 25)
    ]
    assert losses[1] < losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, mixture.dense.module.parameters(), strict=True))
    trained = WeightMixture(base, experts, state=str(file), **given)
    assert len(trained.gates[1].layers) == (2 if kind == "mlp" else 1)
    assert trained.generate(["mirror a b ="], c.Sampling(max_tokens=3))[0].tokens


def test_the_training_pass_is_the_mixture_with_all_experts(base, experts, tmp_path):
    """With equal experts, and by all of the softmax, training sees the logits that the mixture gives."""
    from consort.mixture.training import _Network, _Router

    for level in ("ffn", "block", "model"):
        mixture = WeightMixture(base, [experts[0]] * 2, level=level, gate="random", num_dense=1)
        routers = {layer: _Router(gate, "linear", 0, 0) for layer, gate in mixture.gates.items()}
        ids = mixture.tokenizer.encode("mirror a b c =")
        with torch.no_grad():
            learning = _Network(mixture, routers).eval()(torch.tensor([ids]), len(ids))[0]
        torch.testing.assert_close(learning, mixture.open(1).feed([ids])[0], atol=1e-4, rtol=1e-4)


def test_router_files(tmp_path):
    gates = {0: linear_gate(torch.eye(2, 3)), 1: Gate(((torch.ones(4, 3), torch.ones(4)), (torch.ones(2, 4), None)))}
    write_gates(tmp_path / "g.safetensors", gates)
    read = read_gates(tmp_path / "g.safetensors", layers=[0, 1], experts=2, hidden=3)
    x = torch.tensor([0.5, -1.0, 2.0])
    assert all(torch.equal(read[layer](x), gates[layer](x)) for layer in gates)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "positive"),
        ({"positive": PROMPTS[:2]}, "positive"),
        ({"positive": [["a"], [], ["b"]]}, "positive[1]"),
        ({"positive": ["a", "b", "c"]}, "positive[0]"),
        ({"gate": "hiden"}, "gate"),
        ({"gate": "random", "level": "layer"}, "level"),
        ({"gate": "random", "input": "token"}, "input"),
        ({"gate": "random", "num_dense": 5}, "num_dense"),
        ({"gate": "random", "top_k": 2}, "top_k"),
        ({"gate": "random", "top_k": 4, "level": "ffn"}, "top_k"),
    ],
)
def test_wrong_parameters_are_named(base, experts, given, field):
    with pytest.raises(BadParameter) as error:
        WeightMixture(base, experts, **given)
    assert error.value.field == field


def test_what_cannot_be_mixed(base, tmp_path):
    with pytest.raises(Unsupported, match="gpt2"):
        WeightMixture(Memory({}, {"model_type": "gpt2"}), [base], gate="random")
    with pytest.raises(BadParameter, match="no experts"):
        WeightMixture(base, [], gate="random")
    with pytest.raises(BadParameter, match="say nothing"):
        WeightMixture(base, [base, base], positive=[["a b"], ["a b"]]).gates  # noqa: B018
    with pytest.raises(BadData, match="nothing to learn"):
        train_router(WeightMixture(base, [base], gate="random"), [], tmp_path / "x", recipe=Recipe(steps=1, lr=1))
