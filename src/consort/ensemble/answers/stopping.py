"""When enough answers have been drawn: the chance that the leading answer is the most likely one, exactly.

After counts c_a the answers' probabilities are Dirichlet(c_a + 1), an answer not seen yet counting UNSEEN. The chance
is the integral of f_lead(x) times the product of F_a(x) over independent gamma variables of these shapes (the programme
of 2509.21091 draws it at random, without a seed, and mends what that gets wrong).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf, log

UNSEEN = 0.3


def lead_chance(counts: Sequence[int], unseen: float | None = UNSEEN) -> float:
    """The chance that the answer of the largest count is the most likely one; 0 without counts, and at a tie of two.

    `unseen`: what an answer that was not given yet counts; None: there is no other.

    >>> round(lead_chance([4, 1], None), 6) == round(57 / 64, 6)
    True
    """
    ordered = sorted((n for n in counts if n > 0), reverse=True)
    if not ordered or (len(ordered) > 1 and ordered[0] == ordered[1]):
        return 0.0
    return _integral(tuple(ordered), unseen)


def bayes_factor(counts: Sequence[int], unseen: float | None = UNSEEN) -> float:
    """A P / (1 - P) with A answers, the unseen one among them: how much better than by chance the lead is known.

    >>> [round(bayes_factor([m]), 6) for m in (1, 2, 3)]
    [4.062594, 9.229513, 19.137674]
    """
    chance = lead_chance(counts, unseen)
    classes = sum(n > 0 for n in counts) + (unseen is not None)
    return inf if chance >= 1 else classes * chance / (1 - chance)


@lru_cache(maxsize=65536)
def _integral(ordered: tuple[int, ...], unseen: float | None) -> float:
    import numpy as np
    from scipy.integrate import quad
    from scipy.special import gammainc, gammaincinv

    others = np.array([n + 1.0 for n in ordered[1:]] + ([] if unseen is None else [unseen + 1.0]))
    if not len(others):
        return 1.0

    def below(u: float) -> float:
        """The product of F_a at the lead's quantile u."""
        return float(gammainc(others, gammaincinv(ordered[0] + 1.0, u)).prod())

    return float(quad(below, 0.0, 1.0, epsabs=1e-10, epsrel=1e-10, limit=200)[0])


def entropy(counts: Sequence[int]) -> float:
    """Of the shares, in nats.

    >>> round(entropy([4, 1]), 6)
    0.500402
    """
    total = sum(counts)
    return -sum(n / total * log(n / total) for n in counts if n)
