"""From the tokens of each member to those of their union and back, for ensembles over the union of vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Bool, Int

from consort.models.base import Tokenizer
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class UnionMap:
    """One member's tokens and the union's; -1 where there is none.

    `first` is, for each token of the union, the member's own token of the same bytes (`exact`) or else the first piece
    that the member makes of them.
    """

    to_union: Int[Tensor, " own"]
    first: Int[Tensor, " union"]
    exact: Bool[Tensor, " union"]


def union_map(model: TokenModel, main: TokenModel, union: Tokenizer, *, pieces: bool = False) -> UnionMap:
    """The map of one member; `first` has more than exact tokens only if `pieces` are wanted."""
    import torch

    from consort.models.tokens.align import exact_map, first_map, with_ends
    from consort.models.tokens.pieces import token_bytes

    size, own = union.vocab_size, model.tokenizer
    if own.vocabulary_key in (main.tokenizer.vocabulary_key, union.vocabulary_key):
        same = torch.arange(own.vocab_size)
        first = torch.cat([same, torch.full((size - len(same),), -1)])
        to_union = same
    else:
        to_union = exact_map(token_bytes(own), token_bytes(union))
        to_union = with_ends(to_union, model.ends, min(main.ends, default=-1))
        first = exact_map(token_bytes(union), token_bytes(own))
        first[list(main.ends)] = min(model.ends, default=-1)
    exact = first >= 0
    if pieces and not bool(exact.all()):
        first = torch.where(exact, first, first_map(token_bytes(union), own))
    return UnionMap(to_union, first, exact)


def lengths(union: Tokenizer) -> Int[Tensor, " union"]:
    """The bytes of each token of the union, 0 for those that are no text."""
    import torch

    from consort.models.tokens.pieces import token_bytes

    return torch.tensor([len(piece or b"") for piece in token_bytes(union)])


def tokenizers(models: Sequence[TokenModel]) -> Tokenizer:
    """The union of the models' tokenizers; that of the first if all are alike or there is no model to speak of."""
    from consort.models.tokens.align import union_of

    known = [model.tokenizer for model in models if isinstance(model, TokenModel)]
    return union_of(known)
