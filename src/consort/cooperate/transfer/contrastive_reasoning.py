"""Contrastive decoding for reasoning: the expert kept, and pushed away from an amateur (2309.09117)."""

from __future__ import annotations

from typing import Annotated

from consort.cooperate.transfer import strategy
from consort.cooperate.transfer.combined import Combined
from consort.cooperate.transfer.terms import Mask, Term
from consort.core.params import Range
from consort.models.token_model import TokenModel


@strategy(paper="2309.09117")
class ContrastiveReasoning(Combined):
    """(1 + beta) log p_expert - beta log p_amateur, for tokens with p_expert >= alpha max p_expert (section 2).

    `beta` 0 is the expert on its plausible tokens.
    """

    def __init__(
        self,
        expert: TokenModel,
        amateur: TokenModel,
        *,
        beta: Annotated[float, Range(0, 1000)] = 0.5,
        alpha: Annotated[float, Range(0, 1)] = 0.1,
    ) -> None:
        self.expert, self.amateur, self.beta, self.alpha = expert, amateur, beta, alpha
        super().__init__([Term(expert, 1 + beta), Term(amateur, -beta)], Mask(alpha))
