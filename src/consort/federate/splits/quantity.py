"""Parts of unequal size with the same mixture."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from consort.core.params import Range
from consort.federate.splits import split


@split(paper="quantity skew")
class Quantity:
    """Sizes fall as 1 / rank^`skew`: 0 is even, 1 gives the first client twice the second's; nobody gets nothing."""

    needs_labels = False

    def __init__(self, *, skew: Annotated[float, Range(0, 100)] = 1.0) -> None:
        self.skew = skew

    def parts(self, labels: Sequence[str], clients: int, seed: int) -> list[list[int]]:
        """The rows of each client, by number."""
        order = list(range(len(labels)))
        random.Random(f"{seed}:quantity").shuffle(order)
        weights = [1 / (rank + 1) ** self.skew for rank in range(clients)]
        spare = len(labels) - clients
        sizes = [1 + int(spare * weight / sum(weights)) for weight in weights]
        sizes[0] += len(labels) - sum(sizes)
        starts = [sum(sizes[:client]) for client in range(clients + 1)]
        return [sorted(order[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
