"""Laws that every optimizer keeps; for authors of plug-ins as for consort's own tests.

A law is a function of something that makes the optimizer (called with a domain and a seed) that raises AssertionError
where it is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from consort.search.engine.domain import Domain, Optimizer
from consort.search.optimizers import optimizers
from consort.testing.law import DoesNotApply, Law, law_of

KINDS = ("optimizer",)
Make = Callable[[Domain, int], Optimizer]
Objective = Callable[[Sequence[float]], float]
MOST = 400
"""Generations after which a law stops looking."""

EXPERTS = Domain(
    [-0.5] * 3, [1.5] * 3, ("a", "b", "c"), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), hard=False
)
"""Coefficients of three experts, which may leave the box."""
BOX = Domain([0.0] * 3, [1.0] * 3, EXPERTS.names, EXPERTS.starts)
"""The same where it is hard."""
ROUNDING = 1e-12


def bowl(point: Sequence[float]) -> float:
    """Best at (.5, .3, .2), a mixture of all three."""
    return -sum((x - t) ** 2 for x, t in zip(point, (0.5, 0.3, 0.2), strict=True))


def trace(optimizer: Optimizer, objective: Objective, most: int = MOST) -> list[list[tuple[float, ...]]]:
    """The points of every generation until the search is over."""
    seen: list[list[tuple[float, ...]]] = []
    while len(seen) < most:
        points = [tuple(row) for row in optimizer.ask().tolist()]
        if not points:
            break
        seen.append(points)
        optimizer.tell(torch.tensor([objective(p) for p in points], dtype=torch.float64))
    return seen


def check_shapes(make: Make, domain: Domain = EXPERTS) -> None:
    """Points are float64 rows of the domain's dimension, all finite."""
    optimizer = make(domain, 0)
    points = optimizer.ask()
    assert points.dtype == torch.float64 and points.shape[1] == domain.dim, "points are float64 rows"
    assert bool(points.isfinite().all()), "points are finite"


def check_ask_twice(make: Make, domain: Domain = EXPERTS) -> None:
    """Asking again without telling gives the same points, and nobody's changes to them reach the optimizer."""
    optimizer = make(domain, 1)
    first = optimizer.ask().clone()
    assert torch.equal(optimizer.ask(), first), "ask has no effect of its own"


def check_deterministic(make: Make, objective: Objective = bowl, domain: Domain = EXPERTS) -> None:
    """Same seed and scores, same points to the last bit; so a journal replays a search. Global seeds play no part."""
    state = torch.random.get_rng_state()
    one = trace(make(domain, 3), objective, 30)
    torch.manual_seed(12345)
    other = trace(make(domain, 3), objective, 30)
    assert one == other, "the trace depends on the seed and the scores alone"
    torch.random.set_rng_state(state)


def check_leaves_global_seeds(make: Make, domain: Domain = EXPERTS) -> None:
    """A search draws nothing from torch's global generator."""
    before = torch.random.get_rng_state()
    trace(make(domain, 0), bowl, 5)
    assert torch.equal(before, torch.random.get_rng_state()), "global seeds are left alone"


def check_ends(make: Make, domain: Domain = EXPERTS, most: int = 5000) -> None:
    """On a flat objective the search comes to an end."""
    assert len(trace(make(domain, 0), lambda point: 0.0, most)) < most, "a search ends"


def check_not_worse_than_starts(make: Make, objective: Objective = bowl, domain: Domain = EXPERTS) -> None:
    """The best point asked is at least as good as the best start, wherever starts are asked."""
    seen = [objective(p) for generation in trace(make(domain, 2), objective) for p in generation]
    asked = {p for generation in trace(make(domain, 2), objective, 5) for p in generation}
    starts = [objective(s) for s in domain.starts if tuple(s) in asked]
    assert not starts or max(seen) >= max(starts), "the best is at least the best start"


def check_minus_infinity(make: Make, domain: Domain = EXPERTS) -> None:
    """A point that could not be made scores -inf; the search goes on, with finite points."""

    def broken(point: Sequence[float]) -> float:
        return float("-inf") if point[0] > 0.4 else bowl(point)

    for generation in trace(make(domain, 4), broken, 40):
        assert bool(torch.tensor(generation).isfinite().all()), "points stay finite after a failure"


def check_limits(make: Make, domain: Domain = EXPERTS) -> None:
    """Whatever score inside the limits is told, the same points follow; holds for optimizers that have `limits`."""
    plain, pushed = make(domain, 5), make(domain, 5)
    if not hasattr(plain, "limits"):
        raise DoesNotApply("it has no `limits`: an evaluation cannot stop early")
    for number in range(MOST):
        points, limits = plain.ask(), plain.limits()
        assert torch.equal(points, pushed.ask()), f"generation {number} differs"
        if not len(points):
            return
        scores = torch.tensor([bowl(row) for row in points.tolist()], dtype=torch.float64)
        plain.tell(scores)
        pushed.tell(_elsewhere(scores, limits, number))


def _elsewhere(scores: Tensor, limits: Tensor, number: int) -> Tensor:
    """Scores inside their limits moved to one end or the other."""
    inside = (limits[:, 0] <= scores) & (scores <= limits[:, 1])
    return torch.where(inside, limits[:, number % 2], scores)


def check_stays_inside(make: Make, objective: Objective = bowl) -> None:
    """A box that is hard is never left."""
    for generation in trace(make(BOX, 0), objective, 30):
        points = torch.tensor(generation)
        assert bool((points >= -ROUNDING).all()) and bool((points <= 1 + ROUNDING).all()), "a hard box is left"


OPTIMIZER_LAWS: tuple[Callable[[Make], None], ...] = (
    check_ask_twice,
    check_deterministic,
    check_ends,
    check_leaves_global_seeds,
    check_limits,
    check_minus_infinity,
    check_not_worse_than_starts,
    check_shapes,
    check_stays_inside,
)
"""For whatever makes an optimizer."""


def maker(name: str) -> Make:
    """What makes the registered optimizer `name`, with its decorator's `example`."""
    given = optimizers.entry(name).options.get("example", {})
    return lambda domain, seed: optimizers.get(name)(domain, seed=seed, **given)


LAWS: tuple[Law, ...] = tuple(law_of(law, maker) for law in OPTIMIZER_LAWS)
"""Laws of a registered optimizer, by its name."""
