"""How a budget is shared among the parts of a prompt (LLMLingua, 2310.05736, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_ROUNDS = 60


def rates(sizes: Sequence[int], rate: float, deltas: Sequence[float]) -> Float[np.ndarray, " part"]:
    """The share of each part's tokens that is kept: clip(rate + delta + shift, 0, 1), whose tokens sum to the budget.

    `shift` is the same for all, so that what is cut off at 0 or at 1 is shared by the others.

    >>> rates([10, 10], 0.5, [0.3, -0.3]).tolist()
    [0.8, 0.2]
    """
    weights, wanted = np.asarray(sizes, float), rate * sum(sizes)
    low, high = -2.0 - max(map(abs, deltas), default=0), 2.0 + max(map(abs, deltas), default=0)
    base = rate + np.asarray(deltas, float)
    if np.isclose(weights @ np.clip(base, 0, 1), wanted, rtol=0, atol=1e-9):
        return np.clip(base, 0, 1)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if weights @ np.clip(base + middle, 0, 1) < wanted:
            low = middle
        else:
            high = middle
    return np.clip(base + (low + high) / 2, 0, 1)


def whole_budgets(sizes: Sequence[int], shares: Sequence[float], most: int) -> list[int]:
    """Tokens for each part, whole numbers whose sum is `most` (or all there are): largest remainders first."""
    exact = [size * share for size, share in zip(sizes, shares, strict=True)]
    found = [min(size, int(value)) for size, value in zip(sizes, exact, strict=True)]
    order = sorted(range(len(sizes)), key=lambda i: (-(exact[i] - int(exact[i])), i))
    left = min(most, sum(sizes)) - sum(found)
    while left > 0:
        before = left
        for i in order:
            if left and found[i] < sizes[i]:
                found[i] += 1
                left -= 1
        if left == before:
            break
    return found
