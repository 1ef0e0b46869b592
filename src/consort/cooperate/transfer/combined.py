"""Logit arithmetic: one model whose scores are a weighted sum of other models' log-probabilities.

score(x) = sum_k w_k log softmax(l_k(x) / T_k), for the tokens that a plausibility mask leaves. Contrastive decoding
(2210.15097), context-aware decoding (2305.14739), proxy tuning (2401.08565) and DoLa (2309.03883) are such sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Bool, Float

from consort.cooperate.transfer.terms import Mask, Term, check_term
from consort.core.errors import BadParameter, Incompatible
from consort.core.params import name_of
from consort.models.base import Session
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = -1e4
"""Log-probabilities below this count as this, so that a token one model forbids cannot win where it is subtracted."""
NEAR_TIE = 1e-5
"""Scores this close to the largest are a tie."""
LEAST_OVERLAP = 0.01
"""Vocabularies that share a smaller part of the first are refused."""


class Combined(TokenModel):
    """The weighted sum of terms. The first term is the anchor: its vocabulary, its mask, and it decides ties.

    A term of weight 0 is not asked. Terms of one model are read as one batch. A model with another tokenizer reads the
    text and has a say in the tokens that both have; the others are left out. Raises Unsupported for a model without
    logits, Incompatible for vocabularies that have next to nothing in common.
    """

    divergence = "textbook"

    def __init__(self, terms: Sequence[Term], mask: Mask = Mask()) -> None:
        self.terms, self.mask = tuple(terms), mask
        if not self.terms:
            raise BadParameter("no terms", field="models", hint="give at least one")
        for term in self.terms:
            check_term(term)
        self.tokenizer = self.terms[0].model.tokenizer
        self.models = tuple({id(term.model): term.model for term in self.terms}.values())
        self.name = f"{name_of(type(self).__name__)}({', '.join(m.name for m in self.models)})"
        self.window = min((m.window for m in self.models if m.window is not None), default=None)
        self.batch_tokens = min(m.batch_tokens for m in self.models)
        anchor = self.terms[0]
        self.asked = [t for t in self.terms if t.weight or (t is anchor and (mask.alpha > 0 or mask.top_p < 1))]
        if not any(term.weight for term in self.asked):
            raise BadParameter("all weights are 0", field="weight", hint="give one that is not")
        self.tables = [shared_tokens(self.terms[0].model, term.model) for term in self.asked]

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return self.models

    @property
    def ends(self) -> frozenset[int]:
        key = self.tokenizer.vocabulary_key
        return frozenset().union(*(m.ends for m in self.models if m.tokenizer.vocabulary_key == key))

    def open(self, batch: int = 1) -> Session:
        from consort.cooperate.transfer.session import CombinedSession

        return CombinedSession(self, self.asked, self.combine, batch, self.divergence)

    def combine(self, logits: Sequence[Float[Tensor, "row _"]]) -> Float[Tensor, "row vocab"]:
        """Scores from the logits of the asked terms, each over the tokens of its own model."""
        import torch

        size = min(
            self.tokenizer.vocab_size,
            *(x.shape[-1] for x, t in zip(logits, self.tables, strict=True) if t is None),
        )
        known = [over_shared(x, table, size) for x, table in zip(logits, self.tables, strict=True)]
        scores = torch.zeros_like(known[0])
        allowed = torch.ones_like(scores, dtype=torch.bool)
        for term, x in zip(self.asked, known, strict=True):
            silent = x[:, :1].isnan()
            logp = (x / term.temperature).log_softmax(-1)
            scores = scores + term.weight * torch.where(silent, 0, logp.clamp(min=FLOOR))
        for x, table in zip(known, self.tables, strict=True):
            if table is not None:
                allowed &= (x > -torch.inf) | x[:, :1].isnan()
        anchor = torch.where(known[0].isnan(), 0, known[0]).log_softmax(-1)
        scores = decide_ties(scores.where(plausible(anchor, self.mask) & allowed, self.mask.fill), anchor)
        return scores.where((anchor > -torch.inf) & allowed, -torch.inf)


def plausible(anchor: Float[Tensor, "row vocab"], mask: Mask) -> Bool[Tensor, "row vocab"]:
    """The tokens that stay, from the anchor's log-probabilities; the likeliest always does."""
    import torch

    best = anchor.amax(-1, keepdim=True)
    kept = anchor >= best + math.log(mask.alpha) if mask.alpha > 0 else torch.ones_like(anchor, dtype=torch.bool)
    if mask.top_p < 1:
        ordered, ids = anchor.softmax(-1).sort(dim=-1, descending=True, stable=True)
        inside = ordered.cumsum(-1) - ordered < mask.top_p
        inside[:, 0] = True
        kept &= torch.zeros_like(kept).scatter_(-1, ids, inside)
    return kept | (anchor == best)


def decide_ties(scores: Float[Tensor, "row vocab"], anchor: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
    """The same scores, but of those that tie for the largest the anchor's favourite is just above the others."""
    import torch

    best = scores.amax(-1, keepdim=True)
    tied = scores >= best - NEAR_TIE
    several = tied.sum(-1, keepdim=True) > 1
    winner = anchor.where(tied, -torch.inf).argmax(-1, keepdim=True)
    above = torch.nextafter(best, torch.full_like(best, torch.inf))
    return scores.scatter(-1, winner, torch.where(several, above, scores.gather(-1, winner)))


def over_shared(logits: Float[Tensor, "row own"], table: Tensor | None, size: int) -> Float[Tensor, "row vocab"]:
    """Logits at the anchor's tokens: padding cut off, or gathered with -inf where the model lacks the token."""
    import torch

    if table is None:
        return logits[:, :size]
    ids = table[:size].to(logits.device)
    usable = (ids >= 0) & (ids < logits.shape[-1])
    found = logits[:, ids.clamp(0, logits.shape[-1] - 1)]
    return torch.where(usable | logits[:, :1].isnan(), found, -torch.inf)


def shared_tokens(anchor: TokenModel, model: TokenModel) -> Tensor | None:
    """For each token of the anchor the model's token of the same bytes (-1: none); None if vocabularies are equal."""
    own, other = anchor.tokenizer, model.tokenizer
    if own.vocabulary_key == other.vocabulary_key:
        return None
    from consort.models.tokens.align import coverage, model_map
    from consort.models.tokens.pieces import token_bytes

    overlap = coverage(token_bytes(own), token_bytes(other))
    if overlap < LEAST_OVERLAP:
        message = f"{model.name} has only {overlap:.1%} of the tokens of {anchor.name}"
        raise Incompatible(message, field="models", hint="wrap each in as_bytes")
    return model_map(anchor, model)
