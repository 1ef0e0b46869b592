"""Counting work by model."""

from __future__ import annotations

from consort.core.types import Usage
from consort.ensemble.after.cascade import Cascade
from consort.ensemble.during.average import Average
from consort.models import FakeTokenModel, labels
from consort.models.cost import Meter, distinct, joined, sizes


def test_a_meter_counts_an_answer_of_n_tokens_as_n() -> None:
    meter = Meter("m", 2)
    meter.add([[1, 2, 3], [4]], True, 1.0)
    meter.add([[5], []], True, 0.5)
    meter.add([[6], []], True, 0.5)
    first, second = (row["m"] for row in meter.spent())
    assert first == Usage(3, 3, 1, 1.75)
    assert second == Usage(1, 1, 1, 0.25)


def test_a_repeated_row_is_not_counted_twice() -> None:
    meter = Meter("m", 2)
    meter.add([[1, 2], [3]], False, 0.0)
    meter.select([1, 0, 1])
    assert [row["m"].prompt_tokens for row in meter.spent()] == [1, 2, 0]


def test_names_are_told_apart() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]
    assert distinct(["a", "a#2", "a"]) == ["a", "a#2", "a#3"]


def test_two_models_of_one_name_stay_two_and_one_model_used_twice_stays_one() -> None:
    a, b = FakeTokenModel.random(1, name="x"), FakeTokenModel.random(2, name="x")
    nested = Cascade([b, Average([a, Average([b, a])])], threshold=1.0)
    assert labels(nested) == {"x": b, "x#2": a}
    (answer,) = nested.generate(["abc"])
    one = answer.usage.prompt_tokens
    assert {name: usage.prompt_tokens // one for name, usage in answer.cost.items()} == {"x": 2, "x#2": 2}


def test_costs_of_members_are_summed() -> None:
    a, b = FakeTokenModel.random(1, name="x"), FakeTokenModel.random(2, name="x")
    team = Average([a, b])
    parts = [(a, {"x": Usage(1)}), (b, {"x": Usage(10)}), (a, {"x": Usage(100)})]
    assert joined(team, parts) == {"x": Usage(101), "x#2": Usage(10)}


def test_weights_that_work_for_a_token_are_told_by_model() -> None:
    import consort as c

    model = c.model("lab:mirror")
    size = sum(c.load("lab:mirror")[name].numel() for name in c.load("lab:mirror").keys())
    assert sizes(Cascade([model, FakeTokenModel.random(1, name="x")], threshold=0.5)) == {"lab:mirror": size}
    base, *experts = map(c.load, ("lab:base", "lab:mirror", "lab:order"))
    mixture = c.model(c.sparse_mixture(base, experts, gate="random", experts_per_token=1))
    whole = sum(p.numel() for p in mixture.module.parameters())
    mlp = sum(p.numel() for n, p in mixture.module.named_parameters() if ".experts." in n)
    assert mlp > 0 and mixture.parameters == whole - mlp // 2
