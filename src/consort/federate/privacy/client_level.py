"""Client-level differential privacy (McMahan et al. 2018, arXiv 1710.06963): nobody can tell who took part.

Each client takes part with the probability q, its change is drawn back to the norm C, all count alike, noise
N(0, (z C)^2) is added to the sum, which is divided by q N. Noise comes from a generator that the operating system
seeds; a seed of one's own is for simulations alone.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float

from consort.core.binding import bound
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.federate.privacy.accountant import epsilon, gaussian_rdp
from consort.federate.sampling import poisson, seed_of
from consort.federate.state import State, Update, clipped, trained_names


@dataclass(frozen=True, slots=True)
class ClientPrivacy:
    """Noise multiplier `z`, norm `clip` of a client's change, rate `q` of taking part; stops at epsilon `budget`.

    `noise_seed` makes the noise repeatable, which `simulation` must allow: whoever knows it can take the noise away.
    """

    z: Annotated[float, Range(0, 1000000)]
    clip: Annotated[float, Range(0.000000000001, 1000000000)]
    q: Annotated[float, Range(0.000001, 1)] = 1.0
    delta: Annotated[float, Range(0.000000000000001, 0.5)] = 1e-5
    budget: Annotated[float, Range(0, 1000000000)] | None = None
    simulation: bool = False
    noise_seed: int | None = None

    @property
    def key(self) -> list[Any]:
        return [self.z, self.clip, self.q, self.delta, self.budget, self.noise_seed]

    def check(self) -> None:
        """Raise BadParameter for noise that others could know."""
        if self.noise_seed is not None and not self.simulation:
            hint = "leave it out; with `simulation: true` it makes a simulation repeatable"
            raise BadParameter("noise of a known seed hides nothing", field="privacy.noise_seed", hint=hint)

    def spent(self, rounds: int) -> float:
        """Epsilon after so many rounds."""
        return float(epsilon(rounds * _cost(self.z, self.q), self.delta)[0]) if rounds else 0.0

    def exceeds(self, rounds: int) -> bool:
        """Whether so many rounds would cost more than the budget."""
        return self.budget is not None and self.spent(rounds) > self.budget

    def asked(self, ids: Sequence[str], seed: int, round: int) -> list[str]:
        """Who takes part; secret, but in simulations."""
        if self.simulation:
            return poisson(ids, self.q, random.Random(seed_of(seed, "poisson", round)))
        return poisson(ids, self.q, secrets.SystemRandom())

    def summed(
        self,
        base: State,
        updates: Sequence[Update],
        clients: int,
        round: int,
        line: dict[str, Any],
        *,
        count: int = 1,
    ) -> Update:
        """One update for all: the noised sum over q N; the round's line gets (epsilon, delta).

        With `count` above 1 the one update is a mean of so many, drawn back by the clients themselves.
        """
        self.check()
        names, state = trained_names(base), {}
        drawn = updates_of(updates, base, self.clip, names, count)
        generator = self._generator(round)
        for name in names:
            total = torch.randn(base[name].shape, generator=generator, dtype=torch.float64) * (self.z * self.clip)
            for own in drawn:
                total += count * (own[name].double() - base[name].double())
            state[name] = (base[name].double() + total / (self.q * clients)).to(base[name].dtype)
        spent = self.spent(round + 1)
        line |= {"epsilon": spent if isfinite(spent) else None, "delta": self.delta}
        return Update("sum", state)

    def _generator(self, round: int) -> torch.Generator:
        seed = secrets.randbits(63) if self.noise_seed is None else seed_of(self.noise_seed, "noise", round)
        return torch.Generator().manual_seed(seed)


@lru_cache(maxsize=16)
def _cost(z: float, q: float) -> Float[np.ndarray, " order"]:
    """What one round costs at each order."""
    return gaussian_rdp(z, q=q)


def updates_of(updates: Sequence[Update], base: State, clip: float, names: Sequence[str], count: int) -> list[State]:
    """The states, each drawn back to the norm `clip`, a mean of `count` as it is: it is no longer than that."""
    return [update.state if count > 1 else clipped(update.state, base, clip, names) for update in updates]


bound(ClientPrivacy, "privacy")
