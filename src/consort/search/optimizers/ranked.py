"""What soups of ranked models share: the mean of known points, grown one by one from the best down."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from consort.search.optimizers.generated import Steps


def by_score(scores: Float[Tensor, "start"]) -> list[int]:
    """Indices from the highest score down; of equal ones the earlier first."""
    return sorted(range(len(scores)), key=lambda i: -float(scores[i]))


def grown(starts: Float[Tensor, "start dim"], kept: list[int], *, stop_at_worse: bool) -> Steps:
    """Score all starts, then add to the best one, in order, each other one whose mean with the kept is not worse.

    `kept` is filled with the indices of those accepted.
    """
    scores = yield starts
    first, *rest = by_score(scores)
    kept[:] = [first]
    best = float(scores[first])
    for i in rest:
        told = yield starts[[*kept, i]].mean(0, keepdim=True)
        if float(told[0]) >= best > -torch.inf:
            best = float(told[0])
            kept.append(i)
        elif stop_at_worse:
            return
