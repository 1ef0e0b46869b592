"""Costs of noise against published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from consort.core.errors import BadParameter
from consort.federate import Federation
from consort.federate.privacy.accountant import epsilon, exponential_rdp, gaussian_rdp
from consort.federate.privacy.client_level import ClientPrivacy
from consort.federate.privacy.sample_level import SamplePrivacy, clipped_gradient
from consort.federate.rounds import Rounds

THOUSANDTHS = [1 + i / 1000 for i in range(1, 99000)]


def test_published_values() -> None:
    found, _ = epsilon(gaussian_rdp(4.530877117, THOUSANDTHS), 1e-6, THOUSANDTHS)
    assert found == pytest.approx(1.0, abs=1e-8)
    found, order = epsilon([1.1] * 31, 1e-5, list(range(2, 33)))
    assert (found, order) == (pytest.approx(1.32783806176, abs=1e-11), 32)
    assert exponential_rdp(1.0, 1.0) == pytest.approx(0.123301561, abs=1e-9)


def test_ten_full_rounds_of_noise_one() -> None:
    costs = 10 * gaussian_rdp(1.0, THOUSANDTHS)
    found, order = epsilon(costs, 1e-5, THOUSANDTHS, conversion="classical")
    assert found == pytest.approx(20.17, abs=0.005)
    assert order == pytest.approx(1 + math.sqrt(2 * math.log(1e5) / 10), abs=1e-3)
    assert epsilon(costs, 1e-5, THOUSANDTHS)[0] < found


def test_sampling_makes_it_cheaper_and_fractional_orders_agree_with_whole_ones() -> None:
    whole = gaussian_rdp(1.3, [2.0, 3.0, 8.0], q=0.1)
    near = gaussian_rdp(1.3, [2.0 - 1e-7, 3.0 + 1e-7, 8.0 - 1e-7], q=0.1)
    assert np.allclose(whole, near, rtol=1e-5) and (whole < gaussian_rdp(1.3, [2.0, 3.0, 8.0])).all()
    # order 2 by hand: log(1 + q^2 (e^(1/z^2) - 1))
    assert whole[0] == pytest.approx(math.log1p(0.01 * math.expm1(1 / 1.69)))
    assert gaussian_rdp(0.0, [2.0])[0] == math.inf and gaussian_rdp(1.0, [2.0], q=0.0)[0] == 0


def test_noise_has_the_spread_it_says_it_has() -> None:
    start = {"w": torch.zeros(100_000)}
    privacy = ClientPrivacy(z=2.0, clip=0.5, q=1.0)
    line: dict = {}
    found = privacy.summed(start, [], 4, 0, line)
    assert float(found.state["w"].std()) * 4 == pytest.approx(1.0, rel=0.02)
    assert float(found.state["w"].mean().abs()) < 0.01 and line["epsilon"] > 0
    again = privacy.summed(start, [], 4, 0, {})
    assert not torch.equal(found.state["w"], again.state["w"])


def test_a_run_stops_at_its_budget(start, adding) -> None:
    privacy = ClientPrivacy(z=1.0, clip=1.0, budget=8.0)
    clients = [adding(f"c{i}", 100.0) for i in range(4)]
    found = Federation(start, clients, rounds=Rounds(rounds=50), privacy=privacy).run()
    spent = [line["epsilon"] for line in found.history]
    assert found.stopped == "privacy budget" and spent == sorted(spent) and spent[-1] <= 8.0
    assert privacy.spent(len(spent) + 1) > 8.0


def test_without_noise_it_is_the_clipped_mean(start, adding) -> None:
    privacy = ClientPrivacy(z=0.0, clip=1.0)
    found = Federation(start, [adding("a", 9.0), adding("b", 9.0, samples=100)], privacy=privacy).run()
    moved = sum(float((found.state[n] - start[n]).square().sum()) for n in start) ** 0.5
    assert moved == pytest.approx(1.0, rel=1e-5)


def test_a_known_seed_is_for_simulations_alone(start, adding) -> None:
    with pytest.raises(BadParameter, match="hides nothing"):
        Federation(start, [adding("a")], privacy=ClientPrivacy(z=1.0, clip=1.0, noise_seed=3)).run()
    privacy = ClientPrivacy(z=1.0, clip=1.0, q=0.5, noise_seed=3, simulation=True)
    runs = [Federation(start, [adding(f"c{i}") for i in range(4)], privacy=privacy).run().hash for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("rule", ["median", "krum", "svd_lora", "scaffold", "ties"])
def test_rules_that_read_single_clients_are_refused(rule, start, adding) -> None:
    with pytest.raises(BadParameter, match="own update"):
        Federation(start, [adding("a")], rule, privacy=ClientPrivacy(z=1.0, clip=1.0))


def test_each_example_is_clipped() -> None:
    w = torch.zeros(2, requires_grad=True)
    points = [torch.tensor([30.0, 40.0]), torch.tensor([0.3, 0.4])]
    losses = [lambda p=p: (w * p).sum() for p in points]
    (gradient,), _ = clipped_gradient(losses, [w], SamplePrivacy(clip=1.0))
    assert torch.allclose(gradient, torch.tensor([0.45, 0.6]))
    source = torch.Generator().manual_seed(0)
    drawn = [clipped_gradient(losses, [w], SamplePrivacy(1.0, z=2.0), generator=source)[0][0] for _ in range(2000)]
    assert float((torch.stack(drawn) * 2).std(0).mean()) == pytest.approx(2.0, rel=0.05)
    assert SamplePrivacy(1.0, z=1.0).spent(100, 16, 1600) < SamplePrivacy(1.0, z=1.0).spent(100, 160, 1600)
