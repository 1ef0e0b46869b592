"""Particle swarm optimisation as in Model Swarms (2410.11163): experts move through the space that they span.

Differs from the paper's released code in what the numbers depend on: draws belong to (seed, iteration, particle), the
best and the worst come from the first evaluation, and nothing is drawn from sampled answers.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import checked_scores
from consort.search.swarm.step import (
    Forces,
    draws,
    is_settled,
    is_stale,
    populated,
    scattered,
    towards_another,
    velocity,
)

SEARCHED = {
    "inertia": (0.1, 0.2, 0.3),
    "personal": (0.1, 0.2, 0.3, 0.4, 0.5),
    "social": (0.2, 0.3, 0.4, 0.5, 0.6),
    "repel": (0.01, 0.05, 0.1),
    "step": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}
"""The values that the paper draws from for each of its runs."""


@dataclass(slots=True)
class Swarm:
    """A swarm between two iterations, in the paper's letters: positions, velocities, personal bests, best and worst.

    `f_p` and `f_now` are the scores of personal bests and last known scores; the histories begin with the first score.
    """

    x: Float[Tensor, "particle dim"]
    v: Float[Tensor, "particle dim"]
    p: Float[Tensor, "particle dim"]
    g: Float[Tensor, " dim"]
    w: Float[Tensor, " dim"]
    f_p: list[float]
    f_now: list[float]
    f_g: float
    f_w: float
    step: float
    hist: list[list[float]]
    g_hist: list[float]
    iteration: int = 0
    restarts: dict[int, int] = field(default_factory=dict)


@optimizer(paper="2410.11163", asks={"populate": ("extra", "sparsified", "density")})
class Pso:
    """Particle swarm: each point is drawn to its own best, to the best of all, and away from the worst.

    `inertia`, `personal`, `social`, `repel` weigh the pulls, `step` (with `step_decay` down to `step_min`) scales the
    move. `particles`: children of two starts are added up to so many (`populate: none` adds none); their parents are
    the starts (`originals`) or all, and with range `code` half of them lie beyond a parent. A particle without
    improvement for `restart` x `patience` entries goes back to its best place; the search ends after `iterations`, or
    `patience` equal entries. `drop_iteration`, `drop_particle`: chances that an evaluation is left out. `trials` runs,
    if more than one, each draw the paper's hyper-parameters. `official`: populate as the released code does.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        inertia: Annotated[float, Range(0, 10)] = 0.2,
        personal: Annotated[float, Range(0, 10)] = 0.3,
        social: Annotated[float, Range(0, 10)] = 0.4,
        repel: Annotated[float, Range(0, 10)] = 0.05,
        step: Annotated[float, Range(0, 10)] = 0.5,
        step_decay: Annotated[float, Range(0, 1)] = 0.95,
        step_min: Annotated[float, Range(0, 10)] = 0.1,
        particles: Annotated[int, Range(1, 100000)] = 20,
        iterations: Annotated[int, Range(0, 1000000)] = 50,
        patience: Annotated[int, Range(1, 1000000)] = 10,
        restart: Annotated[float, Range(0, 1000000)] = 0.67,
        restart_cooldown: Annotated[int, Range(0, 1000000)] = 0,
        restart_once: bool = False,
        populate: Literal["children", "none"] = "children",
        populate_range: Literal["interp", "code"] = "interp",
        populate_parents: Literal["originals", "all"] = "originals",
        velocity: Literal["random", "zero", "best"] = "random",
        randomness: bool = True,
        drop_iteration: Annotated[float, Range(0, 1)] = 0.0,
        drop_particle: Annotated[float, Range(0, 1)] = 0.0,
        trials: Annotated[int, Range(1, 10000)] = 1,
        official: bool = False,
    ) -> None:
        self.domain, self.seed, self.trials = domain, seed, trials
        self.forces, self.step = Forces(inertia, personal, social, repel), step
        self.step_decay, self.step_min = step_decay, step_min
        self.particles, self.iterations, self.patience = particles, iterations, patience
        self.restart, self.restart_cooldown, self.restart_once = restart, restart_cooldown, restart_once
        self.populate, self.velocity, self.randomness = populate, velocity, randomness
        self.extrapolate = official or populate_range == "code"
        self.from_children = official or populate_parents == "all"
        self.drop_iteration, self.drop_particle = drop_iteration, drop_particle
        self.swarm: Swarm | None = None
        self.trial = 0
        # after how many answers each trial began, by which a report tells trials apart
        self.began: list[int] = []
        self._told = 0
        self.who: tuple[int, ...] = ()
        self._run = self._trials()
        self._asked: Tensor | None = None

    def ask(self) -> Float[Tensor, "pop dim"]:
        """Where the particles stand now."""
        if self._asked is None:
            self._asked = next(self._run, self._nothing())
        return self._asked.clone()

    def tell(self, scores: Float[Tensor, "pop"]) -> None:
        """Raises BadParameter unless there is a score, not NaN, for each point asked."""
        told = checked_scores(scores, len(self.ask()))
        self._told += 1
        try:
            self._asked = self._run.send(told)
        except StopIteration:
            self._asked = self._nothing()

    def limits(self) -> Float[Tensor, "pop 2"]:
        """For each point asked: scores from the first number to the second change nothing, whichever it is.

        Such a score is no personal best, hence no best of all, and no worst of all (`domain.Racing`).
        """
        if self.swarm is None:
            return torch.tensor([[torch.inf, -torch.inf]] * len(self.who), dtype=torch.float64)
        return torch.tensor([[self.swarm.f_w, self.swarm.f_p[i]] for i in self.who], dtype=torch.float64)

    def _nothing(self) -> Tensor:
        self.who = ()
        return torch.empty(0, self.domain.dim, dtype=torch.float64)

    def _trials(self) -> Generator[Tensor, Tensor, None]:
        for trial in range(self.trials):
            self.trial = trial
            self.began.append(self._told)
            forces, step = self._drawn() if self.trials > 1 else (self.forces, self.step)
            self.swarm = None
            yield from self._search(forces, step, self.seed if self.trials == 1 else self.seed * 10007 + self.trial)

    def _drawn(self) -> tuple[Forces, float]:
        """One of the combinations that the paper searches."""
        numbers = draws(self.seed, "trial", 0, self.trial, len(SEARCHED))
        chosen = [values[int(u * len(values))] for u, values in zip(numbers, SEARCHED.values(), strict=True)]
        return Forces(*chosen[:4]), chosen[4]

    def _search(self, forces: Forces, step: float, seed: int) -> Generator[Tensor, Tensor, None]:
        """The whole algorithm: yields points, is sent their scores."""
        x = self._start(seed)
        self.who = tuple(range(len(x)))
        scores = (yield x).tolist()
        self.swarm = swarm = self._first(x, scores, step, seed)
        for swarm.iteration in range(1, self.iterations + 1):
            if is_settled(swarm.g_hist, self.patience):
                return
            for i in range(len(swarm.x)):
                self._move(swarm, i, forces, seed)
            self.who = self._evaluated(swarm, seed)
            told = (yield swarm.x[list(self.who)]).tolist() if self.who else []
            self._learn(swarm, dict(zip(self.who, told, strict=True)))
            swarm.step = max(swarm.step * self.step_decay, self.step_min)

    def _start(self, seed: int) -> Float[Tensor, "particle dim"]:
        domain = self.domain
        if not domain.starts:
            return scattered(domain.low, domain.high, self.particles, seed)
        starts = torch.tensor([list(map(float, row)) for row in domain.starts], dtype=torch.float64)
        count = self.particles if self.populate == "children" and not domain.complete else 0
        x = populated(starts, count, seed, extrapolate=self.extrapolate, from_children=self.from_children)
        return self._inside(x)

    def _inside(self, x: Tensor) -> Tensor:
        """Positions cut to the box, where the domain has a meaning only there."""
        if not self.domain.hard:
            return x
        low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (self.domain.low, self.domain.high))
        return x.clamp(low, high)

    def _first(self, x: Tensor, scores: list[float], step: float, seed: int) -> Swarm:
        best, worst = scores.index(max(scores)), scores.index(min(scores))
        starts = {"random": towards_another(x, seed), "zero": torch.zeros_like(x), "best": x[best] - x}
        return Swarm(
            x=x.clone(),
            v=starts[self.velocity],
            p=x.clone(),
            g=x[best].clone(),
            w=x[worst].clone(),
            f_p=list(scores),
            f_now=list(scores),
            f_g=scores[best],
            f_w=scores[worst],
            step=step,
            hist=[[score] for score in scores],
            g_hist=[scores[best]],
        )

    def _move(self, swarm: Swarm, i: int, forces: Forces, seed: int) -> None:
        if self._restarts(swarm, i):
            swarm.x[i], swarm.v[i] = swarm.p[i], 0.0
        r = draws(seed, "pull", swarm.iteration, i, 4) if self.randomness else [1.0] * 4
        swarm.v[i] = velocity(swarm.x[i], swarm.v[i], swarm.p[i], swarm.g, swarm.w, forces, r)
        swarm.x[i] = self._inside(swarm.x[i] + swarm.step * swarm.v[i])

    def _restarts(self, swarm: Swarm, i: int) -> bool:
        """Whether particle i goes back to its best place now; after that it waits, or once is enough, if so asked."""
        if not is_stale(swarm.hist[i], self.patience, self.restart):
            return False
        last = swarm.restarts.get(i)
        if last is not None:
            found_at = swarm.hist[i].index(max(swarm.hist[i]))
            if swarm.iteration - last <= self.restart_cooldown or (self.restart_once and found_at < last):
                return False
        swarm.restarts[i] = swarm.iteration
        return True

    def _evaluated(self, swarm: Swarm, seed: int) -> tuple[int, ...]:
        """The particles that are evaluated in this iteration: Drop-K leaves out all, Drop-N each by itself."""
        if draws(seed, "drop all", swarm.iteration, 0, 1)[0] < self.drop_iteration:
            return ()
        each = range(len(swarm.x))
        return tuple(i for i in each if draws(seed, "drop", swarm.iteration, i, 1)[0] >= self.drop_particle)

    def _learn(self, swarm: Swarm, told: dict[int, float]) -> None:
        """Strictly better scores become bests; all particles learn of the new best and worst together."""
        for i, score in sorted(told.items()):
            swarm.f_now[i] = score
            if score > swarm.f_p[i]:
                swarm.p[i], swarm.f_p[i] = swarm.x[i], score
            if score > swarm.f_g:
                swarm.g, swarm.f_g = swarm.x[i].clone(), score
            if score < swarm.f_w:
                swarm.w, swarm.f_w = swarm.x[i].clone(), score
        for history, score in zip(swarm.hist, swarm.f_now, strict=True):
            history.append(score)
        swarm.g_hist.append(swarm.f_g)
