"""CP-delta: the distribution that is nearest to all members, which purifies models by each other (2302.10870).

With the mean KL divergence to the members the nearest is the geometric mean (theorem 3.1), with the largest divergence
over tokens it is the pointwise minimum. 2402.14845 mixes an untrusted large model with a benign small one so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from consort.ensemble.during import strategy
from consort.ensemble.during.average import common, mix
from consort.ensemble.mixing.base import Ensemble
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@strategy(paper="2302.10870")
class CpDelta(Ensemble):
    """The next-token distribution nearest to those of all models: what only one of them would say becomes unlikely.

    `divergence`: `kl` gives the weighted geometric mean, `max` the renormalised pointwise minimum, for which a weight
    matters only by being 0 (not asked) or not. Raises as `average` does.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        divergence: Literal["kl", "max"] = "kl",
    ) -> None:
        super().__init__(models, weight)
        self.divergence = divergence

    def combine(
        self, logits: Sequence[Float[Tensor, "row vocab"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        return mix(logits, shares, "geometric") if self.divergence == "kl" else least(logits)


def least(logits: Sequence[Float[Tensor, "row vocab"]]) -> Float[Tensor, "row vocab"]:
    """Log-probabilities of p ~ min over models of q."""
    return common(logits).amin(0).log_softmax(-1)
