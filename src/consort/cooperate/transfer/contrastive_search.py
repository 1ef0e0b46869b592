"""Contrastive search: likely tokens that do not repeat what the text already says (2202.06417)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from consort.cooperate.transfer import strategy
from consort.core.errors import Unsupported
from consort.core.params import Range
from consort.core.types import Usage
from consort.models.base import Session
from consort.models.cost import joined
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from consort.models.abilities import HiddenSession, States


@strategy(paper="2202.06417", needs="hidden")
class ContrastiveSearch(TokenModel):
    """(1 - alpha) p(x | s) - alpha max_j cos(h_x, h_j) for the `top_k` likeliest tokens x, all others left out.

    h are last hidden states, h_x that of x read after the text, j the tokens before. Meant to be greedy: scores are no
    log-probabilities. `alpha` 0 is greedy decoding. Every token costs `top_k` look-aheads, which are one batch. Raises
    Unsupported for a model that hides its states.
    """

    def __init__(
        self,
        model: TokenModel,
        *,
        top_k: Annotated[int, Range(1, 10000)] = 4,
        alpha: Annotated[float, Range(0, 1)] = 0.6,
    ) -> None:
        if getattr(model, "module", None) is None:
            hint = "a single local transformers model shows them"
            raise Unsupported("does not show its hidden states", field=model.name, hint=hint)
        self.model, self.top_k, self.alpha = model, top_k, alpha
        self.tokenizer, self.batch_tokens = model.tokenizer, model.batch_tokens
        self.window = None if model.window is None else model.window - 1  # room to look ahead
        self.name = f"contrastive_search({model.name})"

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return (self.model,)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def open(self, batch: int = 1) -> Session:
        return _Session(self, batch)


class _Session:
    def __init__(self, owner: ContrastiveSearch, batch: int) -> None:
        from consort.cooperate.transfer.ahead import Ahead
        from consort.models.abilities import with_hidden

        self.owner = owner
        session = with_hidden(owner.model.open(batch), owner.model.name)
        self.ahead: Ahead[HiddenSession] = Ahead(session, batch, with_hidden)
        self.states: list[Tensor | None] = [None] * batch
        """Directions of the hidden states of all tokens of a row."""

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        import torch

        if last:
            return self._step(tokens)
        parts = [
            self._step([new[step : step + 1] for new in tokens]) for step in range(max(map(len, tokens), default=0))
        ]
        rows = zip(*parts, strict=True) if parts else [(x,) for x in self._step(tokens)]
        return [torch.cat(row) for row in rows]

    def _step(self, tokens: Sequence[Sequence[int]]) -> list[Float[Tensor, "one vocab"]]:
        """Scores after the last token of each row that has one."""
        import torch

        if not any(map(len, tokens)):
            return self.ahead.session.feed(tokens, last=True)
        read = self.ahead.session.feed_hidden(tokens, (-1,), last=False)
        for row, found in enumerate(read):
            own, new = self.states[row], _directions(found)
            self.states[row] = new if own is None else torch.cat([own, new])
        top = [x.logits[-1:].topk(min(self.owner.top_k, x.logits.shape[-1]), dim=-1) for x in read]
        wanted = [[[token] for token in found.indices.flatten().tolist()] for found in top]
        looked = self.ahead.look(wanted, lambda session, some: session.feed_hidden(some, (-1,), last=True))
        scores = []
        for x, chosen, known, ahead in zip(read, top, self.states, looked, strict=True):
            wide = torch.full_like(x.logits[-1:], -torch.inf)
            if ahead and known is not None:
                p = x.logits[-1:].softmax(-1).gather(-1, chosen.indices)
                near = (torch.cat([_directions(one) for one in ahead]) @ known.T).amax(-1)
                wide.scatter_(-1, chosen.indices, (1 - self.owner.alpha) * p - self.owner.alpha * near)
            scores.append(wide)
        return scores

    def rollback(self, lengths: Sequence[int]) -> None:
        self.ahead.session.rollback(lengths)
        self.states = [None if x is None else x[:length] for x, length in zip(self.states, lengths, strict=True)]

    def select(self, rows: Sequence[int]) -> _Session:
        self.ahead.select(rows)
        self.states = [self.states[row] for row in rows]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        owner = self.owner
        return [joined(owner, [(owner.model, cost)]) for cost in self.ahead.spent()]


def _directions(states: States) -> Float[Tensor, "new size"]:
    from torch.nn.functional import normalize

    return normalize(states.hidden[0].float(), dim=-1)
