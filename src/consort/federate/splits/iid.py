"""Equal parts of shuffled rows: every client sees the same mixture."""

from __future__ import annotations

import random
from collections.abc import Sequence

from consort.federate.splits import split


@split(paper="independent and identically distributed")
class Iid:
    """Shuffles the rows and deals them out; sizes differ by one at most."""

    needs_labels = False

    def parts(self, labels: Sequence[str], clients: int, seed: int) -> list[list[int]]:
        """The rows of each client, by number."""
        order = list(range(len(labels)))
        random.Random(f"{seed}:iid").shuffle(order)
        return [sorted(order[client::clients]) for client in range(clients)]
