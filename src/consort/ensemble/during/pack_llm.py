"""PackLLM: weigh models by how well they predict the text (2404.11531).

The paper takes the loss over the prompt once; here it is over all that has been read (or the first `prompt_tokens`), so
that a text has the same probability however it is read. With different tokenizers the first model's tokens are used,
where the paper takes those of the model with the lowest loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from jaxtyping import Float

from consort.core.params import Range
from consort.core.types import Usage
from consort.ensemble.during import strategy
from consort.ensemble.during.average import common, mix
from consort.ensemble.mixing.base import Ensemble, MemberSessions, shares_of_sound
from consort.models.base import Session
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from torch import Tensor

    from consort.models.decoding.running_logprobs import Recalled
    from consort.models.tokens.align import Nearest

GRID = 21
"""Weights that `opt` tries for each further model: 0, .05, .., 1."""
MATCHED = 10
"""Of tokens without a counterpart, how many of the likeliest are given to the nearest by edit distance."""


@strategy(paper="2404.11531")
class PackLlm(Ensemble):
    """Average models with weights from the loss of each on the text so far.

    `sim`: weights are softmax(log weight - loss / temperature), loss in nats a token. `opt`: models are added from
    the lowest loss on, each with the share that makes the loss of the mix least. `prompt_tokens`: only so many first
    tokens count (0: all). Tokens of another vocabulary go to the same bytes, else to the nearest by edit distance.
    Raises Unsupported for a model without logits.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        rule: Literal["sim", "opt"] = "sim",
        temperature: Annotated[float, Range(0.0001, 1000000)] = 1.0,
        prompt_tokens: Annotated[int, Range(0, 1000000)] = 0,
    ) -> None:
        super().__init__(models, weight, several=True)
        self.rule, self.temperature, self.prompt_tokens = rule, temperature, prompt_tokens

    def open(self, batch: int = 1) -> Session:
        return _Packed(self, batch)

    @cached_property
    def nearest(self) -> Nearest:
        from consort.models.tokens.align import Nearest
        from consort.models.tokens.pieces import token_bytes

        return Nearest(token_bytes(self.tokenizer))

    @cached_property
    def maps(self) -> list[Tensor | None]:
        from consort.models.tokens.align import model_map

        asked = [self.models[i] for i in self.asked]
        return [None if self._alike(model) else model_map(model, self.models[0]) for model in asked]

    def combine(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        return mix(logits, shares)

    def carried(self, logits: Float[Tensor, "row own"], at: int) -> Float[Tensor, "row vocab"]:
        """Log-probabilities over the first model's tokens of asked model number `at`."""
        from consort.models.tokens.align import carry
        from consort.models.tokens.pieces import token_bytes

        ids, size = self.maps[at], self.tokenizer.vocab_size
        if ids is None:
            return logits[:, :size].log_softmax(-1)
        p = logits[:, : len(ids)].softmax(-1)
        found = carry(p, ids, size)
        pieces = token_bytes(self.models[self.asked[at]].tokenizer)
        lost = p.where(ids[: p.shape[-1]].to(p.device) < 0, 0)
        values, tokens = lost.topk(min(MATCHED, p.shape[-1]), dim=-1)
        for row, (masses, own) in enumerate(zip(values.tolist(), tokens.tolist(), strict=True)):
            for mass, token in zip(masses, own, strict=True):
                piece = pieces[token] if token < len(pieces) else None
                if mass > 0 and piece:
                    found[row, self.nearest(piece)] += mass
        return found.clamp(min=1e-30).log().log_softmax(-1)

    def shares_after(self, seen: Float[Tensor, "token model"]) -> Float[Tensor, " model"]:
        """Weights from the log-probabilities that each asked model gave to the tokens of the text."""
        import torch

        prior = torch.tensor([self.shares[i] for i in self.asked], device=seen.device)
        counted = seen[: self.prompt_tokens] if self.prompt_tokens else seen
        if not len(counted):
            return prior
        return opt(counted) if self.rule == "opt" else sim(-counted.mean(0), self.temperature, prior)


def sim(
    loss: Float[Tensor, " model"], temperature: float = 1.0, prior: Float[Tensor, " model"] | None = None
) -> Float[Tensor, " model"]:
    """softmax(-loss / temperature), times the prior weights."""
    return (-loss / temperature + (0 if prior is None else prior.log())).softmax(-1)


def opt(seen: Float[Tensor, "token model"]) -> Float[Tensor, " model"]:
    """Weights found greedily: from the lowest loss on, each model's share is that of the grid with the lowest loss."""
    import torch

    order = (-seen.mean(0)).argsort(stable=True).tolist()
    shares = torch.zeros(seen.shape[1], device=seen.device)
    shares[order[0]] = 1.0
    mixed, grid = seen[:, order[0]], torch.linspace(0, 1, GRID, device=seen.device)
    for model in order[1:]:
        tried = torch.logaddexp(mixed + (1 - grid).log().unsqueeze(-1), seen[:, model] + grid.log().unsqueeze(-1))
        best = int(tried.mean(-1).argmax())
        mixed = tried[best]
        shares *= 1 - grid[best]
        shares[model] = grid[best]
    return shares


class _Packed(MemberSessions):
    """A session that recalls how likely every model found each token."""

    owner: PackLlm

    def __init__(self, owner: PackLlm, batch: int) -> None:
        from consort.models.decoding.running_logprobs import Recall

        super().__init__(owner, batch)
        self.recall = Recall(batch, self._read, super().rollback)

    def _read(self, tokens: Sequence[Sequence[int]]) -> tuple[Float[Tensor, "model row vocab"], list[int]]:
        logits, counts = self.member_logits(tokens)
        return common([self.owner.carried(x, at) for at, x in enumerate(logits)]), counts

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return [self._mixed(row, last) for row in self.recall.feed(tokens, last=last)]

    def _mixed(self, row: Recalled, last: bool) -> Float[Tensor, "new vocab"]:
        import torch

        new = row.logp.shape[1]
        wanted = range(new)[-1:] if last else range(new)
        if not wanted:
            return row.logp[0]
        found = []
        for at in wanted:
            # a model that had nothing to read says nothing of that token
            seen = row.upto(at + 1)
            share = self.owner.shares_after(seen[~seen.isnan().any(-1)])
            logp, left = shares_of_sound(list(row.logp[:, at : at + 1]), share)
            found.append(self.owner.combine(logp, left))
        return torch.cat(found)

    def rollback(self, lengths: Sequence[int]) -> None:
        self.recall.rollback(lengths)

    def admit(self, rows: int) -> _Packed:
        super().admit(rows)
        self.recall.admit(rows)
        return self

    def select(self, rows: Sequence[int]) -> _Packed:
        super().select(rows)
        self.recall.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.recall.charged(super().spent())
