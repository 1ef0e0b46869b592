"""What Gaussian noise has cost: Rényi differential privacy, composed and converted (Mironov 2017, arXiv 1702.07476).

One step at the order alpha: alpha / (2 z^2) for everybody, and with Poisson sampling at rate q the bound of Mironov,
Talwar and Zhang (2019, arXiv 1908.10530), exact for whole orders and by its series for others. Conversion to
(epsilon, delta): the improved one of Canonne, Kamath and Steinke (2020, arXiv 2004.00010), or the classical.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, log_ndtr

ORDERS = tuple([1 + i / 10 for i in range(1, 100)] + [float(i) for i in range(11, 65)] + [128.0, 256.0, 512.0])


def gaussian_rdp(z: float, orders: Sequence[float] = ORDERS, *, q: float = 1.0) -> Float[np.ndarray, " order"]:
    """The cost at each order of one sum with noise z times its sensitivity, each client taking part with rate `q`.

    >>> gaussian_rdp(1.0, [2.0])
    array([1.])
    """
    if z <= 0:
        return np.full(len(orders), math.inf)
    if q == 0:
        return np.zeros(len(orders))
    if q == 1:
        return np.array([alpha / (2 * z * z) for alpha in orders])
    return np.array([_log_moment(q, z, alpha) / (alpha - 1) for alpha in orders])


def _log_moment(q: float, z: float, alpha: float) -> float:
    return _log_moment_whole(q, z, int(alpha)) if float(alpha).is_integer() else _log_moment_series(q, z, alpha)


def _log_moment_whole(q: float, z: float, alpha: int) -> float:
    """log sum_i C(alpha, i) (1 - q)^(alpha - i) q^i exp((i^2 - i) / (2 z^2))."""
    terms = [
        _log_binomial(alpha, i) + i * math.log(q) + (alpha - i) * math.log1p(-q) + (i * i - i) / (2 * z * z)
        for i in range(alpha + 1)
    ]
    return float(np.logaddexp.reduce(terms))


def _log_binomial(n: float, k: float) -> float:
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _log_moment_series(q: float, z: float, alpha: float) -> float:
    """The two series of section 3.3 of 1908.10530, with signed terms, until they are below e^-30."""
    total = np.array([-math.inf, -math.inf])  # positive and negative terms
    z0 = z * z * math.log(1 / q - 1) + 0.5
    log_coefficient, sign = 0.0, 1
    for i in range(100000):
        j = alpha - i
        halves = [
            log_coefficient
            + i * math.log(q)
            + j * math.log1p(-q)
            + (i * i - i) / (2 * z * z)
            + float(log_ndtr(-(i - z0) / z)),
            log_coefficient
            + j * math.log(q)
            + i * math.log1p(-q)
            + (j * j - j) / (2 * z * z)
            + float(log_ndtr((j - z0) / z)),
        ]
        place = 0 if sign > 0 else 1
        total[place] = np.logaddexp.reduce([total[place], *halves])
        if i > alpha and max(halves) < -30:
            break
        factor = (alpha - i) / (i + 1)
        log_coefficient, sign = log_coefficient + math.log(abs(factor)), sign if factor > 0 else -sign
    return float(total[0] + math.log1p(-math.exp(min(0.0, total[1] - total[0]))))


def epsilon(
    rdp: Sequence[float] | Float[np.ndarray, " order"],
    delta: float,
    orders: Sequence[float] = ORDERS,
    *,
    conversion: str = "improved",
) -> tuple[float, float]:
    """The smallest epsilon over the orders, and its order.

    `improved`: rdp + log(1 - 1/alpha) - log(delta alpha) / (alpha - 1); `classical`: rdp + log(1/delta)/(alpha - 1).
    """
    convert = _improved if conversion == "improved" else _classical
    found = [convert(float(cost), alpha, delta) for cost, alpha in zip(rdp, orders, strict=True)]
    best = int(np.argmin(found))
    return max(0.0, found[best]), orders[best]


def _improved(cost: float, alpha: float, delta: float) -> float:
    if delta * delta + math.expm1(-cost) > 0:  # total variation alone bounds delta
        return 0.0
    if alpha <= 1.01:
        return math.inf
    return cost + math.log1p(-1 / alpha) - math.log(delta * alpha) / (alpha - 1)


def _classical(cost: float, alpha: float, delta: float) -> float:
    return cost + math.log(1 / delta) / (alpha - 1)


def exponential_rdp(epsilon_: float, alpha: float) -> float:
    """The cost of one exponential mechanism of that epsilon (Dong, Durfee, Rogers 2020, arXiv 1909.13830).

    The supremum over t of the Rényi divergence of two-valued losses t - epsilon and t; at alpha = 1 its limit.
    """

    def cost(t: float) -> float:
        # privacy loss is t with probability p and t - epsilon otherwise, p such that e^loss has the mean 1
        p = math.expm1(epsilon_ - t) / math.expm1(epsilon_) if t < epsilon_ else 0.0
        if alpha == 1:
            return p * math.exp(t) * t + (1 - p) * math.exp(t - epsilon_) * (t - epsilon_)
        whole = p * math.exp(alpha * t) + (1 - p) * math.exp(alpha * (t - epsilon_))
        return math.log(whole) / (alpha - 1)

    return _largest(cost, 0.0, epsilon_)


def _largest(function: Callable[[float], float], low: float, high: float) -> float:
    """The maximum of a concave function, by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = low, high
    while b - a > 1e-13 * max(1.0, high):
        c, d = b - ratio * (b - a), a + ratio * (b - a)
        if function(c) > function(d):
            b = d
        else:
            a = c
    return function((a + b) / 2)
