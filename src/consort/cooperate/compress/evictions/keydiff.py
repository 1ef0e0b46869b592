"""Keys that are unlike the others (KeyDiff, 2504.15364)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from consort.cooperate.compress.eviction import Eviction, Held
from consort.cooperate.compress.evictions import eviction


@eviction(paper="2504.15364")
class Keydiff(Eviction):
    """Keep the keys of the smallest cosine to the mean of all keys, each to length 1."""

    def scores(self, held: Held) -> Float[Tensor, "layer head slot"]:
        unit = F.normalize(held.keys.float(), dim=-1)
        return -F.cosine_similarity(unit, unit.mean(-2, keepdim=True), dim=-1)
