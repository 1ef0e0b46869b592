"""EVA: average models of different tokenizers through maps of tokens found by aligning embeddings (2404.09492).

The map is learned from the tokens that both have: an orthogonal turn of one embedding space into the other, then for
each other token the nearest by CSLS (1710.04087), which keeps hubs from being nearest to everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from jaxtyping import Float, Int

from consort.core.params import Range
from consort.ensemble.during import strategy
from consort.ensemble.during.average import mix
from consort.ensemble.during.deepen import anchors_of, embeddings_of
from consort.ensemble.mixing.base import Ensemble
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 10
"""How many nearest neighbours CSLS takes a token's mean similarity over."""


@strategy(paper="2404.09492")
class Eva(Ensemble):
    """Average models of different tokenizers, each token mapped to its counterpart among the first model's.

    Of each other model the `top_k` likeliest tokens are mapped. A model whose favourite is not among the first `filter`
    tokens of any other is left out of that step (all stay if none agree, and with `filter` 0). Where all models share
    one vocabulary the maps are the identity. Raises Unsupported for a model without embeddings, Incompatible if no
    token is shared.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        top_k: Annotated[int, Range(1, 1000000)] = 320,
        filter: Annotated[int, Range(0, 1000)] = 3,
    ) -> None:
        super().__init__(models, weight, several=True)
        self.top_k, self.filter = top_k, filter
        if not all(self._alike(self.models[i]) for i in self.asked):
            for i in (0, *self.asked):
                embeddings_of(self.models[i])

    @cached_property
    def maps(self) -> list[Int[Tensor, " own"] | None]:
        """For each asked model its tokens as the first model's; None if they are the same."""
        asked = [self.models[i] for i in self.asked]
        return [None if self._alike(model) else token_map(model, self.models[0]) for model in asked]

    def combine(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        size = self.tokenizer.vocab_size
        joint = [
            x[:, :size] if ids is None else carried(x, ids, size, self.top_k)
            for x, ids in zip(logits, self.maps, strict=True)
        ]
        return mix(joint, trusted(joint, shares, self.filter) if self.filter else shares)


def carried(
    logits: Float[Tensor, "row own"], ids: Int[Tensor, " own"], size: int, top_k: int
) -> Float[Tensor, "row vocab"]:
    """Log-probabilities of the `top_k` likeliest tokens under their counterparts."""
    from consort.models.tokens.align import carry

    known = logits[:, : len(ids)]
    least = known.topk(min(top_k, known.shape[-1]), dim=-1).values[:, -1:]
    return carry(known.where(known >= least, -float("inf")).softmax(-1), ids, size).log().log_softmax(-1)


def trusted(
    logits: Sequence[Float[Tensor, "row vocab"]], shares: Float[Tensor, "model row"], most: int
) -> Float[Tensor, "model row"]:
    """Shares without the models whose favourite no other has among its first `most` tokens."""
    import torch

    size = min(x.shape[-1] for x in logits)
    tops = [x[:, :size].topk(min(most, size), dim=-1).indices for x in logits]
    kept = torch.zeros_like(shares, dtype=torch.bool)
    for i, own in enumerate(tops):
        for j, other in enumerate(tops):
            if i != j:
                kept[i] |= (own[:, :1] == other).any(-1) & (shares[j] > 0)
    left = shares.where(kept, 0)
    total = left.sum(0)
    return torch.where(total > 0, left / total.where(total > 0, 1), shares)


def token_map(source: TokenModel, target: TokenModel) -> Int[Tensor, " own"]:
    """For each token of `source` that of `target` with its bytes, else the nearest after turning the embeddings."""
    import torch
    from torch.nn.functional import normalize

    from consort.models.tokens.align import model_map

    found = model_map(source, target)
    own, other = normalize(embeddings_of(source), dim=-1), normalize(embeddings_of(target), dim=-1)
    shared = anchors_of([source, target])
    u, _, v = torch.linalg.svd(own[shared[0]].T @ other[shared[1]], full_matrices=False)
    turned, width = normalize(own @ (u @ v), dim=-1), min(NEIGHBOURS, len(own))
    # CSLS is 2 cos(x, y) - r(x) - r(y); r(x) is the same for all y
    crowd = torch.cat([(part @ turned.T).topk(width, dim=-1).values.mean(-1) for part in torch.split(other, 4096)])
    missing = (found[: len(own)] < 0).nonzero().flatten()
    texts = torch.tensor([bool(piece) for piece in _texts(target)], device=other.device)
    for part in torch.split(missing, 4096):
        similar = (2 * turned[part] @ other.T - crowd).where(texts[: len(other)], -torch.inf)
        found[part] = similar.argmax(-1).to(found.device)
    special = torch.tensor([not piece for piece in _texts(source)])
    found[: len(special)][special & (found[: len(special)] >= 0) & ~_is_end(source, len(special))] = -1
    return found


def _texts(model: TokenModel) -> Sequence[bytes | None]:
    from consort.models.tokens.pieces import token_bytes

    return token_bytes(model.tokenizer)


def _is_end(model: TokenModel, size: int) -> Tensor:
    import torch

    return torch.tensor([i in model.ends for i in range(size)])
