"""Trees of a draft model's most likely tokens, as in EAGLE-2 (2406.16858): grown along the most probable branches, then
cut to the best nodes, and verified by one pass over the whole tree."""

from __future__ import annotations

from typing import Annotated

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Target
from consort.cooperate.speculate.drafters.growing import GrowingSession, Shape
from consort.core.params import Range
from consort.models.token_model import TokenModel


@drafter(paper="2406.16858", example={"branching": 4, "nodes": 30, "worth": 0.0}, examples={"thrifty": {}})
class Tree(Drafter):
    """The draft model's likeliest branches, at most `nodes` tokens, the best `branching` of each level going on.

    60 nodes and 10 branches are the constants of EAGLE's released code. `worth`: tokens that each token of a branch
    must have saved lately, on average; where they do not, a row gets the best chain alone until branches would have
    stood again. 0 grows always. For a target that reads no trees it is the best chain.
    """

    trees = True

    def __init__(
        self,
        draft: TokenModel | None = None,
        *,
        branching: Annotated[int, Range(1, 1000)] = 10,
        nodes: Annotated[int, Range(1, 10000)] = 60,
        worth: Annotated[float, Range(0, 1)] = 0.01,
    ) -> None:
        self.draft, self.branching, self.nodes, self.worth = draft, branching, nodes, worth

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        assert draft is not None
        shape = Shape(self.nodes, self.branching, worth=self.worth)
        return GrowingSession(draft, target.pairing(draft), shape, trees=target.trees and self.branching > 1)
