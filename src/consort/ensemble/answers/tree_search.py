"""A tree of answers that grows wider or deeper as draws from posteriors say (AB-MCTS-A, 2503.04412).

At a node two posteriors compete: of rewards of answers generated there (GEN), and of what came of going on from its
children (CONT). GEN, or no child: a new answer, by a model that a bandit over all rewards of each chooses; else the
child of the largest draw, and so on; at a leaf always a new answer. A search asks and is told, in any number of pieces:
its state is a few lists, and its draws depend on the seed and the number of the question alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, log, sqrt
from typing import Any, Literal

import numpy as np

from consort.core.errors import BadData

KAPPA, NU, TAU_2 = 1.0, 1.0, 0.1
"""Of the normal-inverse-gamma prior: what its mean weighs, its degrees of freedom, its scale (units of reward)."""
HALF = 0.5
"""Both parameters of the beta prior."""


@dataclass(slots=True)
class Rewards:
    """How many rewards there are, their sum and the sum of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, reward: float) -> None:
        """One more."""
        self.count, self.total, self.squares = self.count + 1, self.total + reward, self.squares + reward**2


@dataclass(frozen=True, slots=True)
class Posterior:
    """m, kappa, nu and tau^2 of a normal-inverse-gamma distribution."""

    mean: float
    kappa: float
    nu: float
    tau_2: float


def posterior(rewards: Rewards, prior_mean: float = 0.0) -> Posterior:
    """What is known of a mean after rewards.

    >>> seen = Rewards()
    >>> seen.add(0.2), seen.add(0.8)
    (None, None)
    >>> known = posterior(seen)
    >>> round(known.mean, 6), known.kappa, known.nu, round(known.tau_2, 6)
    (0.333333, 3.0, 3.0, 0.148889)
    """
    n, kappa, nu = rewards.count, KAPPA + rewards.count, NU + rewards.count
    if not n:
        return Posterior(prior_mean, kappa, nu, TAU_2)
    mean = rewards.total / n
    around = max(0.0, rewards.squares - n * mean**2)
    scale = NU * TAU_2 + around + n * KAPPA * (prior_mean - mean) ** 2 / kappa
    return Posterior((KAPPA * prior_mean + rewards.total) / kappa, kappa, nu, scale / nu)


@dataclass(slots=True)
class Node:
    """An answer: its parent's number (-1: of the root, which is no answer), who gave it, what it earned, its depth."""

    parent: int
    action: int
    reward: float
    depth: int
    children: list[int] = field(default_factory=list)
    generated: Rewards = field(default_factory=Rewards)
    """Of answers generated here (GEN)."""
    beyond: Rewards = field(default_factory=Rewards)
    """Of answers found by going on from its children (CONT)."""
    own: Rewards = field(default_factory=Rewards)
    """By which its parent chooses it."""


@dataclass(slots=True)
class Tree:
    """A search with `actions` ways to make an answer, node 0 its root.

    `prior_mean`: what is expected of what was never tried; None: the mean of all rewards so far, since with a fixed one
    below all rewards what was tried first is favoured. `counts_itself`: a child is chosen by its own reward too, not
    only by what came of it (the released programme leaves it out). `depth`: of the deepest answers; with 1 nothing is
    ever gone on from.
    """

    actions: int
    seed: int = 0
    kind: Literal["gaussian", "beta"] = "gaussian"
    bandit: Literal["thompson", "ucb"] = "thompson"
    prior_mean: float | None = None
    counts_itself: bool = True
    depth: int = 1_000_000
    asked: int = field(default=0, init=False)
    nodes: list[Node] = field(default_factory=lambda: [Node(-1, -1, 0.0, 0)], init=False)
    by_action: list[Rewards] = field(default_factory=list, init=False)
    everything: Rewards = field(default_factory=Rewards, init=False)

    def __post_init__(self) -> None:
        self.by_action = [Rewards() for _ in range(self.actions)]

    def ask(self, allowed: Sequence[int] | None = None) -> tuple[int, int]:
        """The node to go on from (0: begin anew) and the action that makes the answer; `allowed` ones, default all."""
        rng = np.random.default_rng([self.seed, self.asked])
        self.asked += 1
        at = 0
        while (children := self._open(at)) and not self._widens(at, rng):
            at = max(children, key=lambda child: self._draw(self.nodes[child].own, rng))
        return at, self._action(range(self.actions) if allowed is None else allowed, rng)

    def tell(self, node: int, action: int, reward: float) -> int:
        """The reward of an answer that `ask` wanted; the number of its node.

        Raises BadData for a reward that the posterior has no place for, and for a node or action that there is not.
        """
        if not isfinite(reward):
            raise BadData(f"{reward} is no reward", field="reward", hint="give a finite number")
        if self.kind == "beta" and not 0 <= reward <= 1:
            raise BadData(f"{reward} is no reward in [0, 1]", field="reward", hint="take gaussian posteriors")
        if not (0 <= node < len(self.nodes) and 0 <= action < self.actions):
            hint = f"nodes are 0 to {len(self.nodes) - 1}, actions 0 to {self.actions - 1}"
            raise BadData(f"there is no action {action} at a node {node}", field="tell", hint=hint)
        number = len(self.nodes)
        made = Node(node, action, reward, self.nodes[node].depth + 1)
        if self.counts_itself:
            made.own.add(reward)
        self.nodes.append(made)
        self.nodes[node].children.append(number)
        for seen in (self.everything, self.by_action[action], self.nodes[node].generated):
            seen.add(reward)
        while node:  # the answer came of going on from `node`, as all nodes above it see it
            self.nodes[node].own.add(reward)
            node = self.nodes[node].parent
            self.nodes[node].beyond.add(reward)
        return number

    @property
    def best(self) -> int:
        """The node of the largest reward, of equal ones the first; 0 where there is none."""
        return max(range(1, len(self.nodes)), key=lambda i: (self.nodes[i].reward, -i), default=0)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a search goes on from, as plain values."""
        return {"asked": self.asked, "told": [[n.parent, n.action, n.reward] for n in self.nodes[1:]]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of a search of the same settings; this one must be new. Raises BadData."""
        if self.asked or len(self.nodes) > 1:
            raise BadData("has begun already", field="state", hint="load into a new tree")
        try:
            told = [(int(parent), int(action), float(reward)) for parent, action, reward in state["told"]]
            asked = int(state["asked"])
        except (KeyError, TypeError, ValueError) as fault:
            raise BadData(f"is no state: {type(fault).__name__}", field="state", hint="what state_dict gave") from None
        for parent, action, reward in told:
            self.tell(parent, action, reward)
        self.asked = asked

    def _open(self, node: int) -> list[int]:
        """The children that may be gone on from."""
        return [child for child in self.nodes[node].children if self.nodes[child].depth < self.depth]

    def _widens(self, node: int, rng: np.random.Generator) -> bool:
        return self._draw(self.nodes[node].generated, rng) > self._draw(self.nodes[node].beyond, rng)

    def _draw(self, rewards: Rewards, rng: np.random.Generator) -> float:
        """Of the mean reward, as the posterior has it."""
        if self.kind == "beta":
            return float(rng.beta(HALF + rewards.total, HALF + rewards.count - rewards.total))
        seen = self.everything
        known = posterior(rewards, seen.total / max(1, seen.count) if self.prior_mean is None else self.prior_mean)
        variance = known.nu * known.tau_2 / (2 * rng.standard_gamma(known.nu / 2))
        return float(rng.normal(known.mean, sqrt(variance / known.kappa)))

    def _action(self, allowed: Sequence[int], rng: np.random.Generator) -> int:
        """Each once, then by the bandit."""
        untried = [a for a in allowed if not self.by_action[a].count]
        if untried or len(allowed) == 1:
            return (untried or list(allowed))[0]
        if self.bandit == "thompson":
            return max(allowed, key=lambda a: self._draw(self.by_action[a], rng))
        total = sum(rewards.count for rewards in self.by_action)
        return max(allowed, key=lambda a: upper_confidence(self.by_action[a], total))


def upper_confidence(rewards: Rewards, total: int) -> float:
    """mean + sqrt(2 ln n / n_a); infinite where nothing was tried."""
    return rewards.total / rewards.count + sqrt(2 * log(total) / rewards.count) if rewards.count else inf
