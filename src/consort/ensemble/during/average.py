"""The average of next-token distributions of models that share a vocabulary.

Arithmetic: sum of w p. Geometric: product of p^w, renormalised, which is averaging logits (product of experts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from consort.ensemble.during import strategy
from consort.ensemble.mixing.base import Ensemble
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@strategy(paper="1503.02531")
class Average(Ensemble):
    """Average the next-token probabilities of models that share a vocabulary.

    `weight`: one number for each model, at least 0, of any sum above 0 (default: equal). A model of weight 0 is not
    asked. Tables of different height (padding) are cut to the smallest. Raises Incompatible if vocabularies differ,
    Unsupported for a model without logits.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        mean: Literal["arithmetic", "geometric"] = "arithmetic",
    ) -> None:
        super().__init__(models, weight)
        self.mean = mean

    def combine(
        self, logits: Sequence[Float[Tensor, "row vocab"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        return mix(logits, shares, self.mean)


def mix(
    logits: Sequence[Float[Tensor, "row vocab"]],
    shares: Sequence[float] | Float[Tensor, "model row"],
    mean: str = "arithmetic",
) -> Float[Tensor, "row vocab"]:
    """Log-probabilities of the mean of distributions given by `logits`; `shares` sum to 1, in each row if by row."""
    import torch

    logp = common(logits)
    share = torch.as_tensor(shares, dtype=logp.dtype, device=logp.device).view(len(logp), -1, 1)
    if mean == "geometric":
        return torch.where(share > 0, share * logp, 0).sum(0).log_softmax(-1)
    return (share.log() + logp).logsumexp(0)


def common(logits: Sequence[Float[Tensor, "row _"]]) -> Float[Tensor, "model row vocab"]:
    """Log-probabilities over the tokens that all tables have: padded ones are cut to the smallest."""
    import torch

    size = min(x.shape[-1] for x in logits)
    return torch.stack([x[:, :size].log_softmax(-1) for x in logits])
