"""One step of particle swarm optimisation, as pure functions over rows of coordinates (Model Swarms, 2410.11163).

Every quantity of a swarm over n experts is a fixed linear combination of them, so a swarm lives in coefficients: rows
of positions sum to 1, rows of velocities to 0. Random numbers belong to (seed, purpose, iteration, particle): neither
workers nor their order play a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from consort.merge.arithmetic.randomness import stream_key, uniform


@dataclass(frozen=True, slots=True)
class Forces:
    """Weights of the four terms of a velocity: phi_v, phi_p, phi_g and phi_w."""

    inertia: float
    personal: float
    social: float
    repel: float


def draws(seed: int, purpose: str, iteration: int, particle: int, count: int) -> list[float]:
    """`count` uniform numbers in [0, 1) that belong to one particle in one iteration."""
    numbers = uniform(stream_key(seed, f"swarm {purpose}", str(iteration), particle), 0, count)
    return [float(u) for u in numbers.double()]


def populated(
    starts: Float[Tensor, "start dim"], count: int, seed: int, *, extrapolate: bool, from_children: bool
) -> Float[Tensor, "particle dim"]:
    """`starts` and children t a + (1 - t) b of two different members a, b, until there are `count` rows.

    t is uniform in (0, 1), or in (0, 2) with `extrapolate`; parents are starts only, or any member so far with
    `from_children`. A single start has no children.
    """
    members = list(starts)
    while len(starts) > 1 and len(members) < count:
        pool = len(members) if from_children else len(starts)
        first, second, t = draws(seed, "populate", 0, len(members), 3)
        a = int(first * pool)
        b = (a + 1 + int(second * (pool - 1))) % pool
        t = (t or 2.0**-25) * (2 if extrapolate else 1)
        members.append(t * members[a] + (1 - t) * members[b])
    return torch.stack(members)


def scattered(low: Sequence[float], high: Sequence[float], count: int, seed: int) -> Float[Tensor, "particle dim"]:
    """`count` points drawn uniformly from a box, for a domain without known points."""
    bottom, top = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    shares = [draws(seed, "scatter", 0, i, len(low)) for i in range(count)]
    return bottom + torch.tensor(shares, dtype=torch.float64) * (top - bottom)


def towards_another(x: Float[Tensor, "particle dim"], seed: int) -> Float[Tensor, "particle dim"]:
    """Initial velocities x_j - x_i, j drawn from the other particles; 0 for a particle that is alone."""
    if len(x) < 2:
        return torch.zeros_like(x)
    shift = [1 + int(draws(seed, "velocity", 0, i, 1)[0] * (len(x) - 1)) for i in range(len(x))]
    other = [(i + step) % len(x) for i, step in enumerate(shift)]
    return x[torch.tensor(other)] - x


def velocity(
    x: Float[Tensor, " dim"],
    v: Float[Tensor, " dim"],
    personal: Float[Tensor, " dim"],
    best: Float[Tensor, " dim"],
    worst: Float[Tensor, " dim"],
    forces: Forces,
    r: Sequence[float],
) -> Float[Tensor, " dim"]:
    """The new velocity (section 2, 4c of the paper's algorithm): a mean of the four pulls, weighted by r phi.

    The weight of the old velocity counts even where that velocity is 0, so a restarted particle moves less.
    """
    a, b, c, d = (
        r_i * phi for r_i, phi in zip(r, (forces.inertia, forces.personal, forces.social, forces.repel), strict=True)
    )
    total = a + b + c + d
    if total == 0:
        return torch.zeros_like(v)
    return (a * v + b * (personal - x) + c * (best - x) + d * (x - worst)) / total


def is_stale(history: Sequence[float], patience: int, share: float) -> bool:
    """Whether a particle's best score came so long ago that it starts again from its best place."""
    return len(history) - history.index(max(history)) >= share * patience


def is_settled(history: Sequence[float], patience: int) -> bool:
    """Whether the swarm's best score has stayed the same for `patience` entries."""
    return len(history) > patience and len(set(history[-patience:])) == 1
