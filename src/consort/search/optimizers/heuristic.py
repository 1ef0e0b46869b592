"""Selective merging of Model-GLUE (arXiv 2410.05357, section 3.2): one model after the other, kept if the merge gains.

Unlike the released scripts: the model that the merge starts from is no candidate, and what stands at the end is the
best that was scored, not the pair tried last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, starts_of
from consort.search.optimizers.ranked import by_score

SHARES = torch.arange(1, 10, dtype=torch.float64) / 10
"""The coefficients of the current merge that are tried."""


@optimizer(paper="2410.05357")
class Heuristic(Generated):
    """From the best model on, merge in each other one whose best mix with the merge so far is not worse.

    `mode`: `average` tries the running mean, `coefficient` nine shares of the current merge (of equals the larger
    stays); `similarity` and `dissimilarity` do the same, next with the model most (least) like the merge, by
    `similarities`: the similarity of every pair of models, row after row. `accepted` lists what came in, in order, and
    `point` is the merge: products of the accepted shares. Raises BadParameter.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        mode: Literal["coefficient", "average", "similarity", "dissimilarity"] = "coefficient",
        similarities: Sequence[float] | None = None,
    ) -> None:
        self.domain, self.seed, self.mode, self.similarities = domain, seed, mode, similarities
        self._starts = starts_of(domain, "heuristic")
        self._alike = _square(similarities, len(self._starts)) if mode.endswith("similarity") else None
        self.accepted: list[int] = []
        self.point = self._starts[0]

    def steps(self) -> Steps:
        scores = yield self._starts
        first, *left = by_score(scores)
        best = float(scores[first])
        self.accepted, self.point = [first], self._starts[first]
        amounts = torch.nn.functional.one_hot(torch.tensor(first), len(self._starts)).double()
        while left:
            new = self._next(left, amounts)
            left.remove(new)
            shares = self._shares()
            told = yield shares[:, None] * self.point + (1 - shares)[:, None] * self._starts[new]
            top = max(range(len(shares)), key=lambda i: (float(told[i]), i))
            if float(told[top]) >= best > -torch.inf:
                best, share = float(told[top]), shares[top]
                self.point = share * self.point + (1 - share) * self._starts[new]
                amounts = share * amounts
                amounts[new] += 1 - share
                self.accepted.append(new)

    def _shares(self) -> Float[Tensor, "share"]:
        """What the current merge may keep: with m models accepted since the first, (m+1)/(m+2) is the mean of all."""
        if self.mode != "average":
            return SHARES
        count = len(self.accepted)
        return torch.tensor([count / (count + 1)], dtype=torch.float64)

    def _next(self, left: list[int], amounts: Float[Tensor, "start"]) -> int:
        """The candidate whose turn it is: `left` is in order of score, which also decides between equals.

        The cosine of a mix and a model follows from those of the pairs where all models have one length, as
        fine-tunes of one base nearly do; the mix's own length is the same for all candidates.
        """
        if self._alike is None:
            return left[0]
        likeness = self._alike @ amounts
        sign = 1 if self.mode == "similarity" else -1
        return max(left, key=lambda i: sign * float(likeness[i]))


def _square(similarities: Sequence[float] | None, models: int) -> Float[Tensor, "start start"]:
    given = torch.tensor(list(similarities or ()), dtype=torch.float64)
    if len(given) != models * models:
        message = f"{len(given)} similarities are not those of every pair of {models} models"
        hint = f"give {models * models} numbers, row after row (`consort zoo similarity`)"
        raise BadParameter(message, field="similarities", hint=hint)
    return given.view(models, models)
