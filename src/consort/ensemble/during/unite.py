"""UniTE: mix the models' top-k next tokens only, compared as byte strings (2410.03777)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from jaxtyping import Bool, Float, Int

from consort.core.params import Range
from consort.ensemble.during import strategy
from consort.ensemble.mixing.base import Ensemble, check_models
from consort.ensemble.mixing.union import UnionMap, lengths, tokenizers, union_map
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 2**30
"""The rank of a candidate that is a token of the model's own; that of others is their length in bytes."""


@strategy(paper="2410.03777")
class Unite(Ensemble):
    """Mix the `top_k` likeliest next tokens of models with different tokenizers, and only those.

    The candidates are the union of every model's `top_k`, as byte strings. A model gives a candidate that it lacks the
    logit of the first piece it would write; of several with one first piece the exact, else the longest keeps it.
    Probabilities are over the candidates only, so all other tokens have probability 0. Raises Unsupported for a model
    without logits.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        top_k: Annotated[int, Range(1, 1000000)] = 10,
    ) -> None:
        check_models(models, several=True)
        super().__init__(models, weight, several=True, tokenizer=tokenizers(models))
        self.top_k = top_k

    @cached_property
    def maps(self) -> list[UnionMap]:
        return [union_map(self.models[i], self.models[0], self.tokenizer, pieces=True) for i in self.asked]

    @cached_property
    def lengths(self) -> Int[Tensor, " union"]:
        return lengths(self.tokenizer)

    def combine(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        import torch

        chosen, valid = self.candidates(logits, shares)
        mixed = torch.full(chosen.shape, -torch.inf, device=chosen.device)
        for x, found, share in zip(logits, self.maps, shares, strict=True):
            logp = self.over_candidates(x, found, chosen, valid)
            mixed = torch.logaddexp(mixed, logp + share.log().unsqueeze(-1))
        wide = mixed.new_full((len(mixed), self.tokenizer.vocab_size + 1), -torch.inf)
        wide.scatter_(1, torch.where(valid, chosen, self.tokenizer.vocab_size), mixed)
        return wide[:, :-1]

    def candidates(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> tuple[Int[Tensor, "row candidate"], Bool[Tensor, "row candidate"]]:
        """Tokens of the union in every asked model's top k, and which columns count (the others repeat or miss)."""
        import torch

        parts = []
        for x, found, share in zip(logits, self.maps, shares, strict=True):
            known = x[:, : len(found.to_union)]
            top = known.topk(min(self.top_k, known.shape[-1]), dim=-1).indices
            parts.append(torch.where(share.unsqueeze(-1) > 0, found.to_union.to(top.device)[top], -1))
        chosen = torch.cat(parts, -1).sort(-1).values
        valid = chosen >= 0
        valid[:, 1:] &= chosen[:, 1:] != chosen[:, :-1]
        return chosen.clamp(min=0), valid

    def over_candidates(
        self,
        logits: Float[Tensor, "row own"],
        found: UnionMap,
        chosen: Int[Tensor, "row candidate"],
        valid: Bool[Tensor, "row candidate"],
    ) -> Float[Tensor, "row candidate"]:
        """One model's log-probabilities over the candidates; uniform where it can say none of them."""
        import torch

        first, exact = found.first.to(chosen.device)[chosen], found.exact.to(chosen.device)[chosen]
        usable = valid & (first >= 0) & (first < logits.shape[-1])
        rank = torch.where(exact, EXACT, self.lengths.to(chosen.device)[chosen])
        # of the candidates with one first piece the one of highest rank stays, of equals the earliest
        columns = chosen.shape[-1]
        order = torch.where(usable, rank * columns + torch.arange(columns, 0, -1, device=rank.device) - 1, -1)
        places = first.clamp(0, logits.shape[-1] - 1)
        best = torch.full(logits.shape, -1, device=rank.device).scatter_reduce_(1, places, order, "amax")
        usable &= order == best.gather(1, places)
        values = logits.gather(1, places).where(usable, -torch.inf)
        silent = ~(values > -torch.inf).any(-1, keepdim=True)
        return torch.where(silent & valid, 0.0, values).log_softmax(-1)
