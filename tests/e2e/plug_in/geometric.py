"""A token ensemble: the geometric mean of next-token probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from consort.ensemble.during import strategy
from consort.ensemble.during.average import mix
from consort.ensemble.mixing.base import Ensemble
from consort.models.token_model import TokenModel


@strategy()
class Geometric(Ensemble):
    """The weighted geometric mean of the next-token probabilities of models that share a vocabulary."""

    def __init__(self, models: Sequence[TokenModel], *, weight: Sequence[float] | None = None) -> None:
        super().__init__(models, weight)

    def combine(
        self, logits: Sequence[Float[Tensor, "row vocab"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        return mix(logits, shares, "geometric")
