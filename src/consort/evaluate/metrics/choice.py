"""Choice: the right one of several continuations is the likeliest."""

from __future__ import annotations

from collections.abc import Sequence

from consort.core.types import Example
from consort.evaluate.registry import metric


@metric(needs="score", unit=True)
def choice(log_likelihoods: Sequence[float], example: Example) -> float:
    """1 if the choice at `answer` has the largest summed log-likelihood, else 0; the first of equals wins.

    This is lm-eval's `acc`: sums are not divided by length. A choice is appended to the prompt as it is written, so
    it begins with the space it needs.
    """
    return float(max(range(len(log_likelihoods)), key=log_likelihoods.__getitem__) == example.answer)
