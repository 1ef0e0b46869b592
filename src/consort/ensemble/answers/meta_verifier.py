"""AutoMix's meta-verifier (2310.12963, section 3): from how often an answer was verified to whether to ask further.

A verification v is one of the levels 0/k .. k/k, so every rule is a set of levels at which the large model is asked:
those below a threshold, those between two (what is hopeless is not asked again), or those where a partially observable
decision process expects the large model to be worth its price.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

STATES = ("good", "needy", "hopeless")
"""Of a query: the small model is right; it is wrong and the large one right; both are wrong."""


def gains(
    level: Int[np.ndarray, " row"], small: Float[np.ndarray, " row"], large: Float[np.ndarray, " row"],
    price: Float[np.ndarray, " row"], levels: int,
) -> Float[np.ndarray, " level"]:  # fmt: skip
    """By level, the summed quality that asking the large model adds, less the price of asking it."""
    return np.bincount(level, large - small - price, minlength=levels)


def below(gain: Float[np.ndarray, " level"]) -> list[bool]:
    """The best threshold: ask at the levels below it. Of equals the lowest."""
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    best = int(np.argmax(np.round(sums, 9)))
    return [level < best for level in range(len(gain))]


def between(gain: Float[np.ndarray, " level"]) -> list[bool]:
    """The best two thresholds: ask at the levels from the one up to the other. Of equals the shorter range."""
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    ranges = [(0, 0), *combinations(range(len(gain) + 1), 2)]
    low, high = max(ranges, key=lambda r: (round(float(sums[r[1]] - sums[r[0]]), 9), r[0] - r[1]))
    return [low <= level < high for level in range(len(gain))]


def belief(
    level: Int[np.ndarray, " row"], small: Float[np.ndarray, " row"], large: Float[np.ndarray, " row"], levels: int
) -> Float[np.ndarray, "level state"]:
    """P(state | v) by Bayes' rule; P(v | state) is counted on examples, to which one spread evenly is added."""
    state = np.where(small >= 0.5, 0, np.where(large >= 0.5, 1, 2))
    prior = (np.bincount(state, minlength=3) + 1 / 3) / (len(state) + 1)
    seen = np.stack([np.bincount(level[state == s], minlength=levels) for s in range(3)], axis=1)
    observation = (seen + 1 / levels) / (seen.sum(0) + 1)
    joint = observation * prior
    return np.asarray(joint / joint.sum(1, keepdims=True))


def decide(
    level: Int[np.ndarray, " row"], small: Float[np.ndarray, " row"], large: Float[np.ndarray, " row"],
    price: Float[np.ndarray, " row"], levels: int,
) -> list[bool]:  # fmt: skip
    """The decision process: ask where the expected reward is larger than that of keeping the small model's answer.

    Keeping earns 1 in the good state; asking earns the large model's mean quality in each state less the mean price.
    After either the episode ends, so the optimal policy looks one step ahead from the belief.
    """
    state = np.where(small >= 0.5, 0, np.where(large >= 0.5, 1, 2))
    earned = np.array([large[state == s].mean() if (state == s).any() else (1.0, 1.0, 0.0)[s] for s in range(3)])
    beliefs = belief(level, small, large, levels)
    return [bool(ask) for ask in beliefs @ earned - price.mean() > beliefs[:, 0] + 1e-12]


def incremental_benefit(small: tuple[float, float], large: tuple[float, float], mix: tuple[float, float]) -> float:
    """IBC, each argument (quality, cost): the mix's gain per cost over that of the large model, minus 1.

    small .5 at 1, large .9 at 50 and a mix .7 at 11 give 1.45. A mix as dear as the small model has none: it is 0 where
    it also has the same quality, else infinite.
    """
    slope = (large[0] - small[0]) / (large[1] - small[1])
    if mix[1] == small[1]:
        return 0.0 if mix[0] == small[0] else float(np.copysign(np.inf, mix[0] - small[0]))
    return (mix[0] - small[0]) / (mix[1] - small[1]) / slope - 1


RULES: Sequence[str] = ("pomdp", "threshold", "two_thresholds")
