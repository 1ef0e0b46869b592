"""Aggregators against hand-made numbers, brute force and ten lines of numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from consort.core.errors import BadParameter, UnknownName, Unsupported
from consort.federate import Update, aggregator_of
from consort.federate.aggregators.bulyan import closest_mean
from consort.federate.low_rank import factor_error, factors_of
from consort.federate.state import split_off


def one(*values: float, dtype=torch.float64, **more) -> list[Update]:
    return [Update(f"c{i:02}", {"x": torch.tensor([v], dtype=dtype)}, **more) for i, v in enumerate(values)]


def x(name: str, values, base: float = 0.0, **params) -> float:
    state, _ = aggregator_of({name: params})({"x": torch.tensor([base], dtype=torch.float64)}, one(*values))
    return state["x"].item()


def test_values_by_hand() -> None:
    assert x("median", [1, 3, 2]) == 2
    assert x("trimmed_mean", [0.5, 1, 2, 100], trim=0.25) == 1.5
    assert x("krum", [0.2, 0.7, 1.0], f=0) == 0.7  # .7 and 1.0 are .09 apart, .2 is .25 from its nearest
    assert x("multi_krum", [0.2, 0.5, 1.0], f=0, m=2) == pytest.approx(0.35)  # .2 and .5 are the nearest to another
    rows, centre = torch.tensor([[1.0], [2.0], [0.5]]).double(), torch.tensor([1.0]).double()
    assert closest_mean(rows, centre, 2).item() == 0.75
    assert x("fedadagrad", [0.1], lr=1.0, tau=1e-3) == pytest.approx(0.990050, abs=1e-6)


def test_one_step_of_equal_shards_is_a_centralised_step() -> None:
    g = torch.Generator().manual_seed(0)
    data, target = torch.randn(12, 5, generator=g).double(), torch.randn(12, generator=g).double()
    w = torch.randn(5, generator=g).double()

    def step(rows: slice) -> torch.Tensor:
        return w - 0.1 * data[rows].T @ (data[rows] @ w - target[rows]) / len(data[rows])

    shards = [Update(f"c{i}", {"w": step(slice(3 * i, 3 * i + 3))}, samples=3) for i in range(4)]
    found, _ = aggregator_of("fedavg")({"w": w}, shards)
    assert (found["w"] - step(slice(0, 12))).abs().max() < 1e-12


SAME_AS_FEDAVG = [{"fedprox": {"mu": 0}}, {"fedavgm": {"beta": 0, "lr": 1}}, {"scaffold": {}}, {"fednova": {}}]


@pytest.mark.parametrize("rule", SAME_AS_FEDAVG, ids=lambda rule: next(iter(rule)))
def test_switched_off_they_are_fedavg_to_the_bit(rule) -> None:
    g = torch.Generator().manual_seed(1)
    base = {"w": torch.randn(300, generator=g)}
    ups = [Update(f"c{i}", {"w": torch.randn(300, generator=g)}, samples=i + 1, steps=1) for i in range(5)]
    assert torch.equal(aggregator_of(rule)(base, ups)[0]["w"], aggregator_of("fedavg")(base, ups)[0]["w"])


def test_one_client_with_all_the_weight_is_taken_to_the_bit() -> None:
    far = torch.tensor([1e-30, 1e30, 3.0, -0.0])
    ups = [Update("a", {"w": far}, samples=3), Update("b", {"w": torch.ones(4)}, samples=0)]
    found, _ = aggregator_of("fedavg")({"w": torch.full((4,), 7.0)}, ups)
    assert torch.equal(found["w"], far)
    with pytest.raises(BadParameter, match="samples"):
        aggregator_of("fedavg")({"w": far}, [Update("a", {"w": far}, samples=0)])


@pytest.mark.parametrize("second", ["delta", "momentum"])
@pytest.mark.parametrize("name", ["fedadagrad", "fedadam", "fedyogi"])
def test_adaptive_rules_equal_numpy(name: str, second: str) -> None:
    rng = np.random.default_rng(0)
    w, m, u, lr, b1, b2, tau = rng.normal(size=9), 0.0, 1e-6, 0.01, 0.9, 0.99, 1e-3
    state, memory, rule = {"x": torch.tensor(w)}, {}, aggregator_of({name: {"second": second}})
    for _ in range(5):
        clients = rng.normal(size=(3, 9))
        state, memory = rule(state, [Update(str(i), {"x": torch.tensor(c)}) for i, c in enumerate(clients)], memory)
        d = clients.mean(0) - w
        m = d if name == "fedadagrad" else b1 * m + (1 - b1) * d
        s = (m if second == "momentum" else d) ** 2
        if name == "fedadagrad":
            u = u + s
        else:
            u = b2 * u + (1 - b2) * s if name == "fedadam" else u - (1 - b2) * s * np.sign(u - s)
        w = w + lr * m / (np.sqrt(u) + tau)
        assert np.abs(state["x"].numpy() - w).max() < 1e-12


def test_the_released_variants_of_momentum() -> None:
    rule = aggregator_of({"fedavgm": {"ema": True, "beta": 0.9}})
    state, memory = rule({"x": torch.zeros(1).double()}, one(1.0))
    assert state["x"].item() == pytest.approx(0.1) and memory["v/x"].item() == pytest.approx(0.1)
    full = aggregator_of({"fedadam": {"first_full_step": True}})
    assert full({"x": torch.zeros(1).double()}, one(0.5))[1]["m/x"].item() == 0.5


CURVATURE, MINIMUM = torch.tensor([1.0, 4.0]).double(), torch.tensor([0.0, 1.0]).double()


def quadratics(name: str, rounds: int, steps: int = 10, lr: float = 0.05):
    """Two clients with losses h/2 (x - m)^2, gradient descent on loss and penalty; the state and the control gap."""
    rule = aggregator_of(name)
    local, state, memory = rule.local(), {"x": torch.zeros(1).double()}, {}
    remembered, gaps = [{}, {}], []
    for _ in range(rounds):
        received, ups = split_off(memory, rule.rule.sends) if rule.rule.sends else {}, []
        for i in range(2):
            now = state["x"].clone().requires_grad_()
            for _ in range(steps):
                loss = CURVATURE[i] / 2 * (now - MINIMUM[i]).square().sum()
                extra = local.penalty({"x": now}, state, received, remembered[i])
                (gradient,) = torch.autograd.grad(loss if extra is None else loss + extra, now)
                now = (now - lr * gradient).detach().requires_grad_()
            from consort.federate.local import Trained

            done = Trained(state, {"x": now.detach()}, {}, steps, steps * lr, True)
            aux, remembered[i] = local.finish(done, received, remembered[i])
            ups.append(Update(str(i), {"x": now.detach()}, steps=steps, lr=lr, aux=aux))
        state, memory = rule(state, ups, memory, clients=2)
        if name == "scaffold":
            own = sum(r["x"] for r in remembered) / 2
            gaps.append(float((own - memory["control/x"]).abs()))
    return state["x"].item(), gaps


def test_scaffold_and_feddyn_find_the_common_minimum_and_fedavg_does_not() -> None:
    best = float((CURVATURE * MINIMUM).sum() / CURVATURE.sum())
    found, gaps = quadratics("scaffold", 400)
    assert abs(found - best) < 1e-6 and max(gaps[:10]) < 1e-10
    assert abs(quadratics("fedavg", 50)[0] - best) > 0.05
    assert abs(quadratics({"feddyn": {"alpha": 1.0}}, 300)[0] - best) < 1e-3


def test_fednova_undoes_unequal_steps() -> None:
    """Two clients of one gradient each way: one makes 9 steps, one 1; the mean direction must be 0."""
    ups = [Update("a", {"x": torch.tensor([9.0]).double()}, steps=9), Update("b", {"x": -torch.ones(1).double()})]
    assert aggregator_of("fednova")({"x": torch.zeros(1).double()}, ups)[0]["x"].item() == pytest.approx(0)
    assert aggregator_of("fedavg")({"x": torch.zeros(1).double()}, ups)[0]["x"].item() == 4.0


def test_qfedavg_by_hand_and_without_a_loss() -> None:
    ups = [
        Update("a", {"x": torch.tensor([-0.1]).double()}, lr=0.1, metrics={"loss": 2.0}),
        Update("b", {"x": torch.tensor([0.2]).double()}, lr=0.1, metrics={"loss": 1.0}),
    ]
    # L 10, q 1: d = 1, -2; F d = 2, -2; h = 1 + 20, 4 + 10
    found = aggregator_of({"qfedavg": {"q": 1}})({"x": torch.ones(1).double() * 0}, ups)[0]["x"].item()
    assert found == pytest.approx(-(2 - 2) / 35)
    equal = aggregator_of({"qfedavg": {"q": 0}})({"x": torch.zeros(1).double()}, ups)[0]["x"].item()
    assert equal == pytest.approx(0.05)
    with pytest.raises(Unsupported, match="loss"):
        aggregator_of("qfedavg")({"x": torch.zeros(1).double()}, one(1.0))


def brute_krum(points: np.ndarray, f: int) -> list[float]:
    scores = []
    for i, p in enumerate(points):
        squares = sorted(((p - q) ** 2).sum() for j, q in enumerate(points) if j != i)
        scores.append(sum(squares[: len(points) - f - 2]))
    return scores


def test_robust_rules_equal_brute_force() -> None:
    points = np.random.default_rng(3).normal(size=(9, 6))
    ups, base = [Update(str(i), {"x": torch.tensor(p)}) for i, p in enumerate(points)], {"x": torch.zeros(6).double()}

    def found(name: str, **params) -> np.ndarray:
        return aggregator_of({name: params})(base, ups)[0]["x"].numpy()

    assert np.allclose(found("median"), np.median(points, axis=0), atol=1e-15)
    assert np.allclose(found("trimmed_mean", trim=0.25), np.sort(points, axis=0)[2:7].mean(0))
    scores = brute_krum(points, 2)
    assert np.array_equal(found("krum", f=2), points[int(np.argmin(scores))])
    assert np.allclose(found("multi_krum", f=2, m=3), points[np.argsort(scores)[:3]].mean(0))
    left, taken = list(range(9)), []
    for _ in range(7):
        own = brute_krum(points[left], min(1, max(0, len(left) - 3)))
        taken.append(left.pop(int(np.argmin(own))))
    rows = points[sorted(taken)]
    near = np.argsort(np.abs(rows - np.median(rows, axis=0)), axis=0, kind="stable")[:5]
    assert np.allclose(found("bulyan", f=1), np.take_along_axis(rows, near, 0).mean(0))


def test_two_liars_of_nine(caplog) -> None:
    points = np.random.default_rng(4).normal(size=(9, 5))
    points[[2, 7]] *= 1e6
    honest = np.delete(points, [2, 7], axis=0)
    ups, base = [Update(str(i), {"x": torch.tensor(p)}) for i, p in enumerate(points)], {"x": torch.zeros(5).double()}

    def is_inside(name: str, **params) -> bool:
        value = aggregator_of({name: params})(base, ups)[0]["x"].numpy()
        return bool(((value >= honest.min(0)) & (value <= honest.max(0))).all())

    rules = [("median", {}), ("trimmed_mean", {"trim": 0.25}), ("krum", {"f": 2}), ("multi_krum", {"f": 2})]
    assert all(is_inside(name, **params) for name, params in rules)
    assert not is_inside("fedavg")
    assert not is_inside("trimmed_mean", trim=0.1) and "nothing is trimmed" in caplog.text
    for name, params in [("krum", {"f": 4}), ("multi_krum", {"f": 4}), ("bulyan", {"f": 2})]:
        with pytest.raises(BadParameter, match="too few"):
            is_inside(name, **params)
    with pytest.raises(BadParameter, match="leaves nobody"):
        x("trimmed_mean", [1, 2], trim=0.5)


def lora(seed: int, rank: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 12, generator=g), torch.randn(9, rank, generator=g)
    return {"m.lora_A.weight": a.double(), "m.lora_B.weight": b.double()}


def dense(state) -> torch.Tensor:
    return factors_of(state, "m").product()


def test_svd_is_the_best_product_of_its_rank() -> None:
    ups = [Update(str(i), lora(i, rank), samples=i + 1) for i, rank in enumerate((2, 3, 4))]
    whole = sum(u.samples * dense(u.state) for u in ups) / 6
    found, memory = aggregator_of("svd_lora")(lora(9, 3), ups)
    u, s, v = torch.linalg.svd(whole)
    assert (dense(found) - u[:, :3] * s[:3] @ v[:3]).abs().max() < 1e-8
    lost = float(s[3:].square().sum() / s.square().sum())
    assert memory["told/discarded_energy"].item() == pytest.approx(lost)
    fits, _ = aggregator_of({"svd_lora": {"rank": 9}})(lora(9, 9), ups)
    assert (dense(fits) - whole).abs().max() < 1e-10
    stacked, _ = aggregator_of({"flora_stack": {"merge": False}})(lora(9, 3), ups)
    assert stacked["m.lora_A.weight"].shape == (9, 12) and (dense(stacked) - whole).abs().max() < 1e-10


def test_averaged_factors_are_wrong_and_one_fixed_factor_makes_them_right() -> None:
    ups = [Update(str(i), lora(i, 3)) for i in range(3)]
    weights = [1 / 3] * 3
    means = aggregator_of("fedavg")(lora(9, 3), ups)[0]
    exact = sum(dense(u.state) for u in ups) / 3
    error = float((dense(means) - exact).norm() / exact.norm())
    assert error > 0.1 and factor_error(ups, weights) == pytest.approx(error)
    frozen = [Update(u.client, {**u.state, "m.lora_A.weight": lora(9, 3)["m.lora_A.weight"]}) for u in ups]
    means = aggregator_of("fedavg")(lora(9, 3), frozen)[0]
    assert (dense(means) - sum(dense(u.state) for u in frozen) / 3).abs().max() < 1e-10
    assert factor_error(frozen, weights) < 1e-12
    with pytest.raises(BadParameter, match="ranks"):
        aggregator_of("fedex_lora")(lora(9, 3), [Update("a", lora(1, 3)), Update("b", lora(2, 4))])


def test_a_merge_method_on_clients_is_the_merge(tmp_path) -> None:
    g = torch.Generator().manual_seed(5)
    base = {"w": torch.randn(6, 8, generator=g)}
    states = [{"w": base["w"] + torch.randn(6, 8, generator=g)} for _ in range(4)]
    import consort
    from consort.weights import Memory

    merged = consort.merge("ties", [Memory(s, {}) for s in states], base=Memory(base, {}), density=0.3)
    ups = [Update(str(i), s) for i, s in enumerate(states)]
    found, _ = aggregator_of({"ties": {"density": 0.3}})(base, ups)
    assert (found["w"] - merged["w"]).abs().max() < 1e-6
    drawn = [aggregator_of("dare_ties", seed=s)(base, ups)[0]["w"] for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_wrong_names_and_values() -> None:
    with pytest.raises(UnknownName, match="fedadgrad") as caught:
        aggregator_of("fedadgrad")
    assert "fedadagrad" in (caught.value.hint or "")
    with pytest.raises(BadParameter):
        aggregator_of({"fedprox": {"mu": -1}})
    with pytest.raises(Unsupported, match="differences"):
        aggregator_of("slerp")
    with pytest.raises(BadParameter, match="no updates"):
        aggregator_of("fedavg")({}, [])


def test_all_orders_of_three() -> None:
    ups = one(0.1, 0.2, 0.3)
    found = {
        aggregator_of("fedavg")({"x": torch.zeros(1).double()}, list(p))[0]["x"].item()
        for p in itertools.permutations(ups)
    }
    assert len(found) == 1
