"""How much may be lost by choosing among routers with a test, instead of keeping the best single model.

A router whose true difference to the best single model is x standard errors below zero is taken with probability
Q(c + x), Q the upper tail of the normal distribution, where it has to pass c standard errors. Whatever rule picks it
among K routers, the expected loss is at most K g(c) max se with g(c) = max_x x Q(c + x), for any dependence between
them (union bound). It assumes normal means, exchangeable queries, and candidates and c that were fixed beforehand.
"""

from __future__ import annotations

from math import erfc, exp, log, pi, sqrt


def normal_tail(x: float) -> float:
    """Q(x), the probability that a standard normal number is above x.

    >>> round(normal_tail(1.645), 4)
    0.05
    """
    return 0.5 * erfc(x / sqrt(2))


def worst_loss(c: float) -> float:
    """g(c) = max over x >= 0 of x Q(c + x), in standard errors: the most that one router costs on average.

    >>> round(worst_loss(0.0), 6), round(worst_loss(1.645), 6)
    (0.169971, 0.008175)
    """
    low, high = 0.0, 1.0 + 1.0 / max(c, 0.1)
    while high - low > 1e-12:  # Q(c + x) - x phi(c + x), the slope of x Q(c + x), falls through 0 once
        x = (low + high) / 2
        rises = normal_tail(c + x) > x * exp(-((c + x) ** 2) / 2) / sqrt(2 * pi)
        low, high = (x, high) if rises else (low, x)
    return low * normal_tail(c + low)


def loss_bound(candidates: int, c: float, error: float) -> float:
    """K g(c) se: the expected loss against the best single model; `error` is the largest standard error.

    >>> round(loss_bound(5, 1.0, 0.3 / 500**0.5), 6)
    0.002242
    """
    return candidates * worst_loss(c) * error


def certain_margin(n: int, candidates: int, delta: float) -> float:
    """The mean difference on n held-out queries above which a loser is taken with probability delta at most.

    sqrt(2 ln(K / delta) / n), by Hoeffding for differences in [-1, 1]: free of the normal assumption, rarely reached.

    >>> round(certain_margin(500, 5, 0.05), 6)
    0.135723
    """
    return sqrt(2 * log(candidates / delta) / n)
