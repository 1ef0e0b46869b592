"""The average of next-token distributions of models that share a vocabulary.

Arithmetic: sum of w p. Geometric: product of p^w, renormalised, which is averaging logits (product of experts).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Literal

from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.types import Usage
from consort.ensemble.during import strategy
from consort.models.base import Session, TokenModel
from consort.models.cost import joined

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@strategy(paper="1503.02531")
class Average(TokenModel):
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
        self.models, self.weight, self.mean = tuple(models), weight, mean
        _check_models(self.models)
        self.shares = _shares(weight, len(self.models))
        if mean not in ("arithmetic", "geometric"):
            raise BadParameter(f"{mean!r} is no mean", field="mean", hint="arithmetic or geometric")
        self.tokenizer = self.models[0].tokenizer
        self.name = f"average({', '.join(m.name for m in self.models)})"
        self.window = min((m.window for m in self.models if m.window is not None), default=None)
        self.batch_tokens = min(m.batch_tokens for m in self.models)

    @property
    def members(self) -> Sequence[TokenModel]:
        return self.models

    @property
    def ends(self) -> frozenset[int]:
        return frozenset().union(*(m.ends for m in self.models))

    def open(self, batch: int = 1) -> Session:
        asked = [(model, share) for model, share in zip(self.models, self.shares, strict=True) if share]
        return _Session(self, [model for model, _ in asked], [share for _, share in asked], batch)


class _Session:
    def __init__(self, owner: Average, models: list[TokenModel], shares: list[float], batch: int) -> None:
        self.owner, self.models, self.shares = owner, models, shares
        self.parts = [model.open(batch) for model in models]

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        import torch

        fed = [part.feed(tokens, last=last) for part in self.parts]
        mixed = mix([torch.cat(rows) for rows in fed], self.shares, self.owner.mean)
        return list(torch.split(mixed, [len(row) for row in fed[0]]))

    def rollback(self, lengths: Sequence[int]) -> None:
        for part in self.parts:
            part.rollback(lengths)

    def select(self, rows: Sequence[int]) -> _Session:
        self.parts = [part.select(rows) for part in self.parts]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        by_row = zip(*(part.spent() for part in self.parts), strict=True)
        return [joined(self.owner, list(zip(self.models, costs, strict=True))) for costs in by_row]


def mix(logits: Sequence[Float[Tensor, "row vocab"]], shares: Sequence[float], mean: str) -> Float[Tensor, "row vocab"]:
    """Log-probabilities of the mean of distributions given by `logits`; `shares` sum to 1."""
    import torch

    size = min(x.shape[-1] for x in logits)
    logp = torch.stack([x[:, :size].to(logits[0].device).log_softmax(-1) for x in logits])
    share = torch.tensor(shares, dtype=logp.dtype, device=logp.device).view(-1, 1, 1)
    if mean == "geometric":
        return (share * logp).sum(0).log_softmax(-1)
    return (share.log() + logp).logsumexp(0)


def _check_models(models: Sequence[TokenModel]) -> None:
    if not models:
        raise BadParameter("no models", field="models", hint="give at least one")
    for model in models:
        if not isinstance(model, TokenModel):
            name = getattr(model, "name", str(model))
            raise Unsupported(f"{name} does not show its logits", field="models", hint="take a local model, or vote")
    first = models[0]
    for model in models[1:]:
        if model.tokenizer.vocabulary_key != first.tokenizer.vocabulary_key:
            message = f"{first.name} and {model.name} have different vocabularies"
            raise Incompatible(
                message, field="models", hint="average models of one tokenizer, or combine finished answers"
            )


def _shares(weight: Sequence[float] | None, models: int) -> list[float]:
    given = [1.0] * models if weight is None else [float(w) for w in weight]
    if len(given) != models:
        raise BadParameter(f"{len(given)} values for {models} models", field="weight", hint=f"give {models}")
    if not all(isfinite(w) and w >= 0 for w in given) or sum(given) <= 0:
        raise BadParameter(f"{given} is no weighting", field="weight", hint="numbers of at least 0, not all 0")
    return [w / sum(given) for w in given]
