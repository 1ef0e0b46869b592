"""DeePEn: average models with different tokenizers in a space of relative representations (2404.12715).

A token is described by its similarities to anchors, the tokens that all models have; distributions are averaged as
mixtures of such descriptions, and the mean is turned back into logits of the first model by a few steps of descent.
The descent is AdamW's without its weight decay, which would move a distribution that is already right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from jaxtyping import Float, Int

from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.params import Range
from consort.ensemble.during import strategy
from consort.ensemble.during.average import mix
from consort.ensemble.mixing.base import Ensemble
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from torch import Tensor


@strategy(paper="2404.12715")
class Deepen(Ensemble):
    """Average models of different tokenizers by describing tokens through the tokens they share.

    The tokens are those of the first model. `steps` of descent at rate `lr` (to a quarter, by a cosine) turn the mean
    back into its logits; `anchors` bounds how many shared tokens are used (default: all; the matrix of a model has
    vocabulary times anchors numbers). Where all models share one vocabulary this is the average of probabilities.
    Raises Unsupported for a model without embeddings, Incompatible if no token is shared.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        steps: Annotated[int, Range(0, 1000)] = 5,
        lr: Annotated[float, Range(0, 10)] = 0.15,
        anchors: Annotated[int, Range(1, 1000000)] | None = None,
    ) -> None:
        super().__init__(models, weight, several=True)
        self.steps, self.lr, self.anchors = steps, lr, anchors
        self.alike = all(self._alike(self.models[i]) for i in (0, *self.asked))
        if self.asked[0] != 0 and not self.alike:
            raise BadParameter("the descent starts at the first model", field="weight", hint="give it more than 0")
        if not self.alike:
            for i in self.asked:
                embeddings_of(self.models[i])

    @cached_property
    def spaces(self) -> list[Float[Tensor, "own anchor"]]:
        """Each asked model's tokens by their similarity to the anchors."""
        asked = [self.models[i] for i in self.asked]
        ids = anchors_of(asked)[:, : self.anchors]
        return [relative(embeddings_of(model), own) for model, own in zip(asked, ids, strict=True)]

    def combine(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        if self.alike:
            return mix(logits, shares)
        joint = [
            share.unsqueeze(-1) * (x[:, : len(space)].softmax(-1) @ space)
            for x, space, share in zip(logits, self.spaces, shares, strict=True)
        ]
        return inverted(logits[0][:, : len(self.spaces[0])], self.spaces[0], sum(joint), self.steps, self.lr)


def embeddings_of(model: TokenModel) -> Float[Tensor, "token size"]:
    """A model's input embeddings in float32. Raises Unsupported where there are none to see."""
    module = getattr(model, "module", None)
    if module is None:
        hint = "take local transformers models, or gac or unite"
        raise Unsupported("does not show its embeddings", field=model.name, hint=hint)
    weight: Tensor = module.get_input_embeddings().weight.detach().float()
    return weight[: model.tokenizer.vocab_size]


def anchors_of(models: Sequence[TokenModel]) -> Int[Tensor, "model anchor"]:
    """The tokens with bytes that all models have, by each model's ids. Raises Incompatible if there is none."""
    import torch

    from consort.models.tokens.align import exact_map
    from consort.models.tokens.pieces import token_bytes

    first = token_bytes(models[0].tokenizer)
    maps = torch.stack([exact_map(first, token_bytes(model.tokenizer)) for model in models])
    shared = (maps >= 0).all(0)
    if not bool(shared.any()):
        names = " and ".join(model.name for model in models)
        raise Incompatible(f"{names} share no token", field="models", hint="wrap each in as_bytes")
    return maps[:, shared]


def relative(embeddings: Float[Tensor, "token size"], anchors: Int[Tensor, " anchor"]) -> Float[Tensor, "token anchor"]:
    """R = softmax(100 c / |c|), c the cosines of a token to the anchors (section 3.2)."""
    from torch.nn.functional import normalize

    directions = normalize(embeddings, dim=-1)
    cosines = directions @ directions[anchors.to(directions.device)].T
    return (100 * normalize(cosines, dim=-1)).softmax(-1)


def inverted(
    logits: Float[Tensor, "row vocab"],
    space: Float[Tensor, "vocab anchor"],
    target: Float[Tensor, "row anchor"],
    steps: int,
    lr: float,
) -> Float[Tensor, "row vocab"]:
    """Log-probabilities p near `logits` with pR near `target`: Adam on KL(target || pR), each row by itself (eq. 8)."""
    import torch

    values = logits.log_softmax(-1).clamp(min=-1e4)
    mean, square = torch.zeros_like(values), torch.zeros_like(values)
    for step in range(steps):
        p = values.softmax(-1)
        # the gradient of -sum target log(pR) by the logits, by hand: no graph to build
        by_p = (target / (p @ space).clamp(min=1e-30)) @ space.T
        gradient = p * ((by_p * p).sum(-1, keepdim=True) - by_p)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = lr * (0.25 + 0.75 * (1 + math.cos(math.pi * step / steps)) / 2)
        moved = mean / (1 - 0.9 ** (step + 1))
        values = values - rate * moved / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
    return values.log_softmax(-1)
