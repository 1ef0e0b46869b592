"""Contrastive decoding: what an expert knows better than an amateur (2210.15097).

The paper uses beam search; here it is greedy or sampled.
"""

from __future__ import annotations

from typing import Annotated

from consort.cooperate.transfer import strategy
from consort.cooperate.transfer.combined import Combined
from consort.cooperate.transfer.terms import Mask, Term
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.models.token_model import TokenModel


@strategy(paper="2210.15097")
class Contrastive(Combined):
    """log p_expert - strength log p_amateur, for tokens with p_expert >= alpha max p_expert (section 3).

    p_expert = softmax(logits) and p_amateur = softmax(logits / amateur_temperature), so up to a constant of the
    position the amateur's log-probability at temperature 1 weighs strength / amateur_temperature. The defaults are
    those of the published runs; the paper's program has strength 0.5 and amateur_temperature 1 built in. With a
    temperature other than 1, an expert contrasted with itself would choose the least likely plausible token, so that is
    refused unless `force`.
    """

    def __init__(
        self,
        expert: TokenModel,
        amateur: TokenModel,
        *,
        strength: Annotated[float, Range(0, 1000)] = 1.0,
        amateur_temperature: Annotated[float, Range(0.0001, 1000)] = 0.5,
        alpha: Annotated[float, Range(0, 1)] = 0.1,
        force: bool = False,
    ) -> None:
        self.expert, self.amateur, self.force = expert, amateur, force
        self.strength, self.amateur_temperature, self.alpha = strength, amateur_temperature, alpha
        if same(expert, amateur) and amateur_temperature != 1 and strength and not force:
            hint = "take a smaller or earlier model, or amateur_temperature 1"
            raise BadParameter("is the expert itself", field="amateur", hint=hint)
        super().__init__([Term(expert), Term(amateur, -strength, amateur_temperature)], Mask(alpha))


def same(a: TokenModel, b: TokenModel) -> bool:
    """Whether two models are one object, or come from one source."""
    source = getattr(a, "source", None)
    return a is b or (source is not None and source == getattr(b, "source", None))
