"""Each client draws its own mixture of labels (Hsu et al. 2019, arXiv 1909.06335)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from consort.core.params import Range
from consort.federate.splits import split


@split(paper="1909.06335")
class Dirichlet:
    """Each client draws its mixture of labels from a Dirichlet distribution: `alpha` 1000 is even, .01 one label each.

    Clients have equal sizes as far as the labels last; a client whose labels have run out draws among those left.
    """

    needs_labels = True

    def __init__(self, *, alpha: Annotated[float, Range(0.000001, 1000000)] = 0.5) -> None:
        self.alpha = alpha

    def parts(self, labels: Sequence[str], clients: int, seed: int) -> list[list[int]]:
        """The rows of each client, by number."""
        rng = np.random.Generator(np.random.PCG64(seed))
        names = sorted(set(labels))
        left = {n: rng.permutation([i for i, label in enumerate(labels) if label == n]).tolist() for n in names}
        mixtures = rng.dirichlet([self.alpha] * len(names), clients)
        found: list[list[int]] = [[] for _ in range(clients)]
        sizes = [len(labels) // clients + (client < len(labels) % clients) for client in range(clients)]
        for client, size in enumerate(sizes):
            for _ in range(size):
                open_ = [i for i, name in enumerate(names) if left[name]]
                weights = mixtures[client][open_] + 1e-300
                taken = names[open_[int(rng.choice(len(open_), p=weights / weights.sum()))]]
                found[client].append(left[taken].pop())
        return [sorted(rows) for rows in found]
