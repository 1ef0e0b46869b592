"""Particle swarms: the trajectory by hand, the invariants, restart and stop, dropping, populating."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import ConsortError
from consort.search.engine.domain import Domain, coefficient_domain
from consort.search.optimizers.pso import Pso
from consort.search.swarm.step import draws, populated, towards_another

HAND = {"inertia": 0.2, "personal": 0.3, "social": 0.4, "repel": 0.1, "step": 0.5}


def units(n: int) -> Domain:
    return coefficient_domain([f"e{i}" for i in range(n)])


def drive(swarm: Pso, f, most: int = 10**6) -> list[torch.Tensor]:
    """Ask and tell to the end; the points of each generation."""
    seen = []
    while len(x := swarm.ask()) and len(seen) < most:
        seen.append(x)
        swarm.tell(torch.tensor([f(row) for row in x], dtype=torch.float64))
    return seen


def test_the_trajectory_worked_out_by_hand():
    line = Domain([0], [1], starts=[[0.0], [4.0]], hard=False)
    swarm = Pso(line, randomness=False, populate="none", **HAND)
    expected = [((2.4, -0.4), (1.2, 3.8), 3.8), ((1.64, 0.3), (1.979, 3.9425), 3.8)]
    expected.append(((1.2543, 0.3545), (2.545003, 4.102468), 2.545003))
    states = []
    for k in range(4):
        x = swarm.ask()
        if k:
            states.append((swarm.swarm.v[:, 0].clone(), x[:, 0]))
        swarm.tell(-((x[:, 0] - 3) ** 2))
        if k:
            v, x, g = expected[k - 1]
            torch.testing.assert_close(states[-1][0], torch.tensor(v, dtype=torch.float64), atol=1e-4, rtol=0)
            torch.testing.assert_close(states[-1][1], torch.tensor(x, dtype=torch.float64), atol=1e-6, rtol=0)
            assert swarm.swarm.g.item() == pytest.approx(g, abs=1e-6)
            assert swarm.swarm.w.item() == 0
            if k == 3:
                assert swarm.swarm.p[:, 0].tolist() == pytest.approx([2.545003, 3.8], abs=1e-6)


def reference(experts, f, seed, iterations):
    """The same algorithm on weights, written down once more as loops over tensors (no restart, no stop)."""
    dtype = experts.dtype
    n = len(experts)
    x = []
    for row in populated(torch.eye(n, dtype=torch.float64), 6, seed, extrapolate=False, from_children=False):
        x.append(sum(c * e for c, e in zip(row.to(dtype), experts, strict=True)))
    shift = [1 + int(draws(seed, "velocity", 0, i, 1)[0] * 5) for i in range(6)]
    v = [x[(i + s) % 6] - x[i] for i, s in enumerate(shift)]
    p, f_p = [t.clone() for t in x], [f(t) for t in x]
    g, w = p[f_p.index(max(f_p))], p[f_p.index(min(f_p))]
    f_g, f_w, lam = max(f_p), min(f_p), 0.5
    for k in range(1, iterations + 1):
        for i in range(6):
            r = [a * b for a, b in zip(draws(seed, "pull", k, i, 4), (0.2, 0.3, 0.4, 0.05), strict=True)]
            pull = r[0] * v[i] + r[1] * (p[i] - x[i]) + r[2] * (g - x[i]) + r[3] * (x[i] - w)
            v[i] = pull / sum(r)
            x[i] = x[i] + lam * v[i]
        for i, score in enumerate(map(f, x)):
            if score > f_p[i]:
                p[i], f_p[i] = x[i].clone(), score
            if score > f_g:
                g, f_g = x[i].clone(), score
            if score < f_w:
                w, f_w = x[i].clone(), score
        lam = max(lam * 0.95, 0.1)
    return torch.stack(x)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_coefficients_and_weights_are_the_same_swarm(dtype, tolerance):
    experts = torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    target = torch.linspace(-1, 1, 50, dtype=dtype)

    def f(weights):
        return -float(((weights - target) ** 2).double().sum())

    swarm = Pso(units(3), seed=5, particles=6, iterations=15, patience=100)
    drive(swarm, lambda c: f((c.to(dtype)[:, None] * experts).sum(0)))
    found = swarm.swarm.x.to(dtype) @ experts
    torch.testing.assert_close(found, reference(experts, f, 5, 15), atol=tolerance, rtol=0)
    assert (swarm.swarm.x.sum(1) - 1).abs().max() < 1e-12
    assert swarm.swarm.v.sum(1).abs().max() < 1e-12


def test_the_step_shrinks_to_its_floor():
    swarm = Pso(units(2), randomness=False, patience=1000, iterations=60)
    steps = []
    while len(x := swarm.ask()):
        swarm.tell(torch.zeros(len(x)))
        steps.append(swarm.swarm.step)
    steps = [0.5, *steps[1:]]
    assert steps[:5] == pytest.approx([0.5, 0.475, 0.45125, 0.428687, 0.407253], abs=1e-6)
    assert steps[31] > 0.1 and steps[32] == 0.1
    from_one = [max(0.1, 0.95**k) for k in range(60)]
    assert from_one[44] > 0.1 and from_one[45] == 0.1


@pytest.mark.parametrize(("share", "first"), [(0.67, 7), (0.5, 5)])
def test_without_improvement_particles_restart_and_the_search_ends(share, first):
    swarm = Pso(units(3), particles=4, restart=share, patience=10, seed=2)
    told = drive(swarm, lambda x: 1.0)
    assert set(swarm.swarm.restarts) == {0, 1, 2, 3}
    assert len(told) == 11  # the start and ten iterations: it stops at the beginning of the eleventh
    again = Pso(units(3), particles=4, restart=share, patience=10, seed=2)
    for k in range(first):
        assert not (again.swarm and again.swarm.restarts), k
        x = again.ask()
        again.tell(torch.ones(len(x)))
    assert set(again.swarm.restarts.values()) == {first}
    moved = again.swarm.x - again.swarm.p
    forces = torch.tensor([draws(2, "pull", first, i, 4) for i in range(4)]) * torch.tensor([0.2, 0.3, 0.4, 0.05])
    pull = forces[:, 2:3] * (again.swarm.g - again.swarm.p) + forces[:, 3:] * (again.swarm.p - again.swarm.w)
    torch.testing.assert_close(moved, 0.5 * 0.95 ** (first - 1) * pull / forces.sum(1, keepdim=True), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("options", "expected"), [({}, 4), ({"restart_cooldown": 2}, 2), ({"restart_once": True}, 1)])
def test_restarts_can_wait_or_come_once(options, expected):
    swarm = Pso(units(2), populate="none", patience=10, iterations=10, **options)
    fired = []
    for _ in range(11):
        before = dict(swarm.swarm.restarts) if swarm.swarm else {}
        x = swarm.ask()
        swarm.tell(torch.zeros(len(x)))
        if swarm.swarm.restarts.get(0) != before.get(0):
            fired.append(swarm.swarm.restarts[0])
    assert len(fired) == expected, fired


def test_the_best_never_falls_and_the_worst_never_rises():
    swarm, best, worst = Pso(units(4), seed=3, particles=8, patience=100, iterations=20), [], []
    while len(x := swarm.ask()):
        swarm.tell(-((x - 0.3) ** 2).sum(1))
        best.append(swarm.swarm.f_g)
        worst.append(swarm.swarm.f_w)
    assert best == sorted(best) and worst == sorted(worst, reverse=True)


def test_dropping_all_leaves_the_best_starter():
    swarm = Pso(units(3), particles=5, drop_iteration=1.0, patience=10)
    told = drive(swarm, lambda x: float(x[1]))
    assert len(told) == 1
    assert swarm.swarm.g.tolist() == [0, 1, 0]
    assert swarm.swarm.iteration == 11


def test_dropping_particles_asks_about_half_of_them():
    swarm = Pso(units(3), particles=10, drop_particle=0.5, patience=1000, iterations=40, seed=1)
    told = drive(swarm, lambda x: float(x[1]))
    assert 150 < sum(map(len, told[1:])) < 250


def test_populating():
    starts = torch.eye(3, dtype=torch.float64)
    interp = populated(starts, 10003, 0, extrapolate=False, from_children=False)[3:]
    assert bool(((interp != 0).sum(1) == 2).all()) and bool((interp > 0).sum(1).eq(2).all())
    code = populated(starts, 2003, 0, extrapolate=True, from_children=False)[3:]
    assert (code < 0).any(1).double().mean().item() == pytest.approx(0.5, abs=0.04)
    children = populated(starts, 200, 0, extrapolate=True, from_children=True)
    assert bool(((children != 0).sum(1) == 3).any())
    torch.testing.assert_close(children.sum(1), torch.ones(200, dtype=torch.float64))


def test_half_of_the_children_lie_beyond_a_parent_in_the_released_code():
    t = [draws(0, "populate", 0, i, 3)[2] * 2 for i in range(10000)]
    assert sum(x > 1 for x in t) / len(t) == pytest.approx(0.5, abs=0.02)


def test_a_box_without_starts_is_searched_inside():
    box = Domain([0.0, -1.0], [1.0, 1.0])
    swarm = Pso(box, particles=8, iterations=10, seed=4)
    seen = drive(swarm, lambda x: float(x.sum()))
    for x in seen:
        assert bool((x >= torch.tensor([0.0, -1.0])).all()) and bool((x <= 1).all())
    assert swarm.swarm.f_g > float(seen[0].sum(1).max())


def test_trials_draw_the_settings_of_the_paper_and_every_one_is_run():
    swarm = Pso(units(3), particles=4, iterations=2, trials=3, seed=1)
    assert len(drive(swarm, lambda x: float(x[0]))) == 9
    assert swarm.trial == 2


def test_a_lone_particle_has_no_velocity():
    assert towards_another(torch.ones(1, 3), 0).tolist() == [[0, 0, 0]]


def test_parameters_are_checked_by_their_declaration():
    from consort.core.params import bind
    from consort.search.optimizers import optimizers

    params = [p for p in optimizers.entry("pso").params if p.name not in ("domain", "seed")]
    with pytest.raises(ConsortError, match="outside"):
        bind("pso", params, {"drop_particle": 1.5})
