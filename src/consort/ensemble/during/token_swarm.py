"""A mixture of next-token distributions with weights of either sign: what a point of a token swarm stands for.

Model Swarms (2410.11163) names the idea without a formula; both here are our reading. Tokenizers may differ where each
model is wrapped in `as_bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Literal

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.ensemble.during import strategy
from consort.ensemble.during.average import common
from consort.ensemble.mixing.base import Ensemble
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@strategy(paper="2410.11163")
class TokenSwarm(Ensemble):
    """Add and subtract next-token distributions of models that share a vocabulary.

    `mean: arithmetic` is max(sum of w p, 0), renormalised; `geometric` is softmax(sum of w log p). `weight`: one number
    for each model, of any sign (default: equal), not all 0. Raises Incompatible if vocabularies differ, Unsupported for
    a model without logits.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        mean: Literal["arithmetic", "geometric"] = "arithmetic",
    ) -> None:
        given = [1 / len(models)] * len(models) if weight is None and models else [float(w) for w in weight or ()]
        if len(given) != len(models) or not all(map(isfinite, given)) or not any(given):
            hint = f"{counted(len(models), 'number')}, not all 0"
            raise BadParameter(f"{given} is no weighting", field="weight", hint=hint)
        super().__init__(models, [abs(w) for w in given])
        self.weight, self.mean, self.signed = weight, mean, given

    def combine(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        import torch

        signed = torch.tensor([self.signed[i] for i in self.asked], device=shares.device)
        return mixed(logits, signed.unsqueeze(-1) * (shares > 0), self.mean)


def mixed(
    logits: Sequence[Float[Tensor, "row _"]],
    weight: Sequence[float] | Float[Tensor, "model row"],
    mean: str = "arithmetic",
) -> Float[Tensor, "row vocab"]:
    """Log-probabilities of the mixture; where nothing positive is left, the distribution with the largest weight's."""
    import torch

    logp = common(logits)
    w = torch.as_tensor(weight, dtype=logp.dtype, device=logp.device).view(len(logp), -1, 1)
    if mean == "geometric":
        # a token that a model excludes stays excluded, whatever the sign of the model's weight
        summed = (w * logp.clamp_min(torch.finfo(logp.dtype).min / 1e6)).sum(0)
        return summed.log_softmax(-1)
    p = (w * logp.exp()).sum(0).clamp_min(0)
    total = p.sum(-1, keepdim=True)
    first = w.expand(-1, len(p), 1).argmax(0, keepdim=True).expand(-1, -1, p.shape[-1])
    return torch.where(total > 0, (p / total.where(total > 0, 1)).log(), logp.gather(0, first)[0])
