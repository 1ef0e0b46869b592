"""Proxy tuning: a small model's fine-tuning carried over to a large model (2401.08565).

The same sum is emulated fine-tuning (2310.12962) and DExperts (2105.03023).
"""

from __future__ import annotations

from typing import Annotated

from consort.cooperate.transfer import strategy
from consort.cooperate.transfer.combined import Combined
from consort.cooperate.transfer.terms import Term
from consort.core.params import Range
from consort.models.token_model import TokenModel


@strategy(paper="2401.08565")
class Proxy(Combined):
    """log p_base + alpha (log p_expert - log p_anti_expert): the base as if tuned like the expert (eq. 1).

    Logits give the same distribution, a softmax being blind to constants. The expert is the tuned small model, the
    anti-expert the same small model before.
    """

    def __init__(
        self,
        base: TokenModel,
        expert: TokenModel,
        anti_expert: TokenModel,
        *,
        alpha: Annotated[float, Range(0, 1000)] = 1.0,
    ) -> None:
        self.base, self.expert, self.anti_expert, self.alpha = base, expert, anti_expert, alpha
        super().__init__([Term(base), Term(expert, alpha), Term(anti_expert, -alpha)])
