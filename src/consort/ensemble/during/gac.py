"""GaC: average next-token probabilities over the union of the models' vocabularies (2406.12585)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.ensemble.during import strategy
from consort.ensemble.during.average import mix
from consort.ensemble.mixing.base import Ensemble, check_models
from consort.ensemble.mixing.union import tokenizers, union_map
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@strategy(paper="2406.12585")
class Gac(Ensemble):
    """Average next-token probabilities over the union of the vocabularies of models with different tokenizers.

    Tokens with the same bytes are one token; what is chosen is read by every model in its own tokens. `gate`: mix only
    where the first model's most likely token has less than this probability, else take the first model's distribution
    (1: always mix). Ends of all models are one token. Raises Unsupported for a model without logits.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        gate: Annotated[float, Range(0, 1)] = 1.0,
    ) -> None:
        check_models(models, several=True)
        super().__init__(models, weight, several=True, tokenizer=tokenizers(models))
        self.gate = gate
        if gate < 1 and self.asked[0] != 0:
            raise BadParameter("the gate listens to the first model", field="weight", hint="give it more than 0")
        self.maps = [union_map(self.models[i], self.models[0], self.tokenizer) for i in self.asked]

    def combine(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        import torch

        size = self.tokenizer.vocab_size
        joint = [over_union(x, found.to_union, size) for x, found in zip(logits, self.maps, strict=True)]
        mixed = mix(joint, shares)
        if self.gate == 1:
            return mixed
        sure = logits[0].softmax(-1).amax(-1, keepdim=True) >= self.gate
        return torch.where(sure & (shares[0] > 0).unsqueeze(-1), joint[0], mixed)


def over_union(logits: Float[Tensor, "row own"], to_union: Tensor, size: int) -> Float[Tensor, "row union"]:
    """Log-probabilities over the union; what has no place in it (special tokens of others) is left out."""
    from consort.models.tokens.align import carry

    known = logits[:, : len(to_union)]
    return carry(known.softmax(-1), to_union, size).log().log_softmax(-1)
