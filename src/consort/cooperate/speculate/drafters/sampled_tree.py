"""Trees drawn from a draft model without replacement, verified by recursive rejection (SpecInfer, 2305.09781)."""

from __future__ import annotations

from typing import Annotated

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Target
from consort.cooperate.speculate.drafters.growing import GrowingSession, Shape
from consort.core.params import Range
from consort.models.token_model import TokenModel


@drafter(paper="2305.09781", example={"worth": 0.0}, examples={"thrifty": {}})
class SampledTree(Drafter):
    """Branches drawn from the draft model, `children` of each node, at most `nodes` tokens, `branching` going on.

    Greedily the likeliest branches are taken, as by `tree`. `worth`: tokens that each token of a branch must have saved
    lately; where they do not, a row gets a drawn chain until they would have. 0 grows always. For a target that reads
    no trees it is a drawn chain.
    """

    trees = True

    def __init__(
        self,
        draft: TokenModel | None = None,
        *,
        children: Annotated[int, Range(1, 1000)] = 2,
        branching: Annotated[int, Range(1, 1000)] = 10,
        nodes: Annotated[int, Range(1, 10000)] = 60,
        worth: Annotated[float, Range(0, 1)] = 0.01,
    ) -> None:
        self.draft, self.children, self.branching, self.nodes, self.worth = draft, children, branching, nodes, worth

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        assert draft is not None
        shape = Shape(self.nodes, self.branching, self.children, self.worth)
        return GrowingSession(draft, target.pairing(draft), shape, trees=target.trees)
