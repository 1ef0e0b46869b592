"""Every aggregator, and every merge method that works on differences, keeps these laws."""

from __future__ import annotations

import pytest
import torch

from consort.federate import Update, aggregator_of
from consort.federate.aggregators import AGGREGATORS
from consort.federate.low_rank import factors_of, modules_of
from consort.federate.merging import merging_names
from consort.federate.state import RESIDUAL, TOLD

OWN = list(AGGREGATORS)
MERGED = [n for n in merging_names() if n != "nearswap"]  # it takes one model, and needs a threshold
MOST = {"nuslerp": 2}
ALL = [*OWN, *MERGED]
SPELLED = {"bulyan": {"f": 1}, "krum": {"f": 1}}


def state(seed: int, scale: float = 1.0, rank: int = 3) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = {"m.lora_A.weight": (rank, 11), "m.lora_B.weight": (7, rank), "prompt": (4, 5)}
    return {name: torch.randn(shape, generator=g) * scale for name, shape in shapes.items()}


def updates(count: int = 7, base: dict[str, torch.Tensor] | None = None) -> list[Update]:
    base = state(0) if base is None else base
    made = []
    for i in range(count):
        own = {name: base[name] + change for name, change in state(i + 1, 0.1).items()}
        made.append(Update(f"c{i:02}", own, samples=i + 1, steps=5, lr=0.1, aux=own, metrics={"loss": 1.0 + i}))
    return made


def product(found: dict[str, torch.Tensor]) -> torch.Tensor:
    (module,) = modules_of(found)
    whole = factors_of(found, module).product()
    return whole + found[module + RESIDUAL].double() if module + RESIDUAL in found else whole


def run(name, given, base=None, memory=None, backwards=False):
    rule, given = (
        aggregator_of({name: SPELLED.get(name, {})}),
        sorted(given, key=lambda u: u.client)[: MOST.get(name, 7)],
    )
    given = given[::-1] if backwards else given
    return rule(state(0) if base is None else base, given, memory, clients=len(given))


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_arrival_changes_no_bit(name: str) -> None:
    given = updates()
    one, memory = run(name, given)
    other, same = run(name, given, backwards=True)
    assert list(map(sorted, (one, memory))) == list(map(sorted, (other, same)))
    assert all(torch.equal(one[n], other[n]) for n in one) and all(torch.equal(memory[n], same[n]) for n in memory)


@pytest.mark.parametrize("name", ALL)
def test_inputs_are_left_as_they_are_and_outputs_have_their_form(name: str) -> None:
    given, base = updates(), state(0)
    before = [{n: t.clone() for n, t in u.state.items()} for u in given]
    found, memory = run(name, given, base)
    assert all(torch.equal(u.state[n], b[n]) for u, b in zip(given, before, strict=True) for n in b)
    assert {n for n in found if not n.endswith(RESIDUAL)} == set(base)
    for n in base:
        assert found[n].shape == base[n].shape and found[n].dtype == base[n].dtype and found[n].isfinite().all()
    again, _ = run(name, given, found, {k: v for k, v in memory.items() if not k.startswith(TOLD)})
    assert all(value.isfinite().all() for value in again.values())


@pytest.mark.parametrize("name", [n for n in OWN if n not in ("fedadagrad", "fedadam", "fedyogi", "feddyn", "qfedavg")])
def test_clients_that_agree_are_followed(name: str) -> None:
    base, there = state(0), state(1)
    found, _ = run(name, [Update(f"c{i}", there, steps=3, lr=0.1) for i in range(7)], base)
    assert (found["prompt"] - there["prompt"]).abs().max() < 1e-6
    assert (product(found) - product(there)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_clients_that_change_nothing_change_nothing(name: str) -> None:
    base = state(0)
    given = [Update(f"c{i}", base, steps=3, lr=0.1, metrics={"loss": 1.0}) for i in range(7)]
    found, _ = run(name, given, base)
    assert (found["prompt"] - base["prompt"]).abs().max() < 1e-6
    assert (product(found) - product(base)).abs().max() < 1e-5


@pytest.mark.parametrize("name", [n for n in OWN if AGGREGATORS.entry(n).options.get("space") == "factors"])
def test_mean_of_products_is_product_stored_and_residual(name: str) -> None:
    """The law of exact LoRA aggregation, in float64."""
    base = {n: t.double() for n, t in state(0).items()}
    given = [Update(u.client, {n: t.double() for n, t in u.state.items()}, u.samples) for u in updates()]
    exact = sum(u.samples * product(u.state) for u in given) / sum(u.samples for u in given)
    params = {"svd_lora": {"residual": "base"}}.get(name, {})
    found, _ = aggregator_of({name: params})(base, given)
    assert (product(found) - exact).abs().max() < 1e-10


@pytest.mark.parametrize("name", OWN)
def test_a_rule_is_an_expression_again(name: str) -> None:
    rule = aggregator_of({name: SPELLED.get(name, {})})
    assert aggregator_of(rule.to_plan()).params == rule.params
