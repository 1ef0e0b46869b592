"""What is refused unless a plan says how it is meant: tensors that some inputs lack, configurations that differ."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter, ConsortError, Incompatible
from consort.merge import merge
from consort.plan import build, dump, parse, to_plan
from consort.weights.checkpoint import Memory
from consort.weights.disk.writer import write

CONFIG = {"model_type": "llama", "hidden_size": 2, "rope_theta": 1e4, "max_position_embeddings": 2048}


def model(name, config=None, **values):
    tensors = {key: torch.tensor(value, dtype=torch.float32) for key, value in values.items()}
    return Memory(tensors, CONFIG | (config or {}), name=name)


A = model("a", w=[3.0, 1], v=[5.0, 5])
B = model("b", w=[1.0, 1])
BASE = model("base", w=[1.0, 0], v=[1.0, 2])


def test_a_tensor_that_an_input_lacks_is_refused():
    with pytest.raises(Incompatible, match="v is missing from b") as caught:
        merge("linear", [A, B])
    assert "missing" in str(caught.value.hint)


def test_missing_base_takes_the_base_in_its_place():
    merged = merge("task_arithmetic", [A, B], base=BASE, missing="base", weight=[0.5, 1])
    assert merged["v"].tolist() == [3, 3.5]  # the second change is zero
    assert merged["w"].tolist() == [2, 1.5]
    assert merge("linear", [B], base=BASE, missing="base")["v"].tolist() == [1, 2]


def test_missing_base_needs_a_base_that_has_the_tensor():
    with pytest.raises(ConsortError, match="missing: there is no base"):
        merge("linear", [A, B], missing="base")
    with pytest.raises(Incompatible, match="v is missing from b"):
        merge("task_arithmetic", [A, B], base=model("base", w=[1.0, 0]), missing="base")


def test_missing_available_merges_those_that_have_it():
    merged = merge("linear", [A, B, model("c", w=[2.0, 4], v=[1.0, 1])], missing="available", weight=[1, 5, 3])
    assert merged["v"].tolist() == [2, 2]  # (1 x 5 + 3 x 1) / 4
    assert merged["w"].tolist() == pytest.approx([(3 + 5 + 6) / 9, (1 + 5 + 12) / 9])
    ties = merge("ties", [A, B], base=BASE, missing="available", density=1, weight=[1, 9])
    assert ties["v"].tolist() == [5, 5] and ties.resolve("v")["weight"] == (1,)


def test_what_only_the_base_has_is_the_base_s():
    extra = model("base", w=[1.0, 0], v=[1.0, 2], only=[7.0, 8])
    assert merge("ties", [A, A], base=extra, missing="available")["only"].tolist() == [7, 8]
    assert merge("ties", [A, A], base=extra, missing="base")["only"].tolist() == [7, 8]


def test_available_is_refused_where_too_few_have_it_or_the_base_lacks_it():
    with pytest.raises(Incompatible, match="v is in 1 of the models, the method needs 2"):
        merge("model_stock", [A, B], base=BASE, missing="available")
    with pytest.raises(Incompatible, match="v is missing from the base"):
        merge("ties", [A, A], base=model("base", w=[1.0, 0]), missing="available")
    with pytest.raises(BadParameter, match=r"cannot be normalised \(in v\)"):
        merge("linear", [A, B, A], missing="available", weight=[1, 3, -1])


@pytest.mark.parametrize("name", ["ties", "dare_ties", "linear", "sce", "della"])
def test_the_draws_and_statistics_of_a_tensor_are_those_of_the_models_that_have_it(name, tmp_path):
    def drawn(seed, *names):
        random = torch.Generator().manual_seed(seed)
        return Memory({key: torch.randn(30, 20, generator=random) for key in names}, {}, name=f"m{seed}")

    base, one, two = drawn(0, "v", "w"), drawn(1, "v", "w"), drawn(2, "w")
    both, alone = merge(name, [one, two], base=base, missing="available"), merge(name, [one], base=base)
    full = merge(name, [one, Memory({"v": one["v"], "w": two["w"]}, {})], base=base)
    assert both["v"].equal(alone["v"]) and both["w"].equal(full["w"])
    write(both, tmp_path / "out", threads=2)


def test_differing_configurations_are_refused_until_a_key_is_given_to_an_input():
    long = model("long", {"rope_theta": 1e6, "max_position_embeddings": 32768}, w=[3.0, 3])
    with pytest.raises(Incompatible, match="config rope.rope_theta: 10000.0 against 1000000.0"):
        merge("linear", [B, long])
    with pytest.raises(Incompatible, match="config max_position_embeddings") as caught:
        merge("linear", [B, long], config_conflict={"rope.rope_theta": "long"})
    assert "rope" not in caught.value.message
    merged = merge("linear", [B, long], config_conflict={"rope.rope_theta": "long", "max_position_embeddings": 0})
    assert merged.config["rope_theta"] == 1e6 and merged.config["max_position_embeddings"] == 2048
    of_base = merge("linear", [long, long], base=B, config_conflict={k: "base" for k in merged.config_conflict})
    assert of_base.config["rope_theta"] == 1e4


def test_newer_spellings_of_rope_replace_the_older():
    new = Memory({"w": torch.ones(2)}, {"model_type": "llama", "hidden_size": 2, "max_position_embeddings": 2048,
                 "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, name="new")  # fmt: skip
    config = merge("linear", [B, new], config_conflict={"rope.rope_theta": "new"}).config
    assert "rope_theta" not in config and config["rope_parameters"]["rope_theta"] == 5e5


@pytest.mark.parametrize(
    ("conflict", "message"),
    [
        ({"rope_theta": "long"}, "do not differ in 'rope_theta'"),
        ({"rope.rope_theta": "lnog"}, "no input is called 'lnog'"),
        (["rope_theta"], "is no mapping"),
    ],
)
def test_a_conflict_that_makes_no_sense_is_refused(conflict, message):
    long = model("long", {"rope_theta": 1e6}, w=[3.0, 3])
    with pytest.raises(ConsortError, match=message):
        merge("linear", [B, long], config_conflict=conflict)


def test_all_faults_of_headers_and_parameters_come_at_once():
    odd = model("odd", {"rope_theta": 1e6}, w=[3.0, 3], more=[1.0])
    with pytest.raises(ConsortError) as caught:
        merge("ties", [B, odd], base=BASE, density=3, nonsense=1)
    text = str(caught.value)
    assert all(part in text for part in ("density", "nonsense", "rope.rope_theta", "more is missing", "v is missing"))


def test_plans_carry_both(tmp_path):
    for name, checkpoint in (("a", A), ("b", B), ("base", BASE)):
        write(checkpoint, tmp_path / name)
    a, b, base = (str(tmp_path / name) for name in ("a", "b", "base"))
    plan = parse({"task_arithmetic": {"models": [a, b], "base": base, "missing": "base"}})
    merged = build(plan, "checkpoint")
    assert merged["v"].tolist() == [5, 5] and parse(dump(plan)) == plan and to_plan(merged) == dump(plan.root)
    with pytest.raises(ConsortError, match="missing"):
        parse({"linear": {"models": [a, b], "missing": "zero"}})
