"""GeDi: a model that writes in two manners judges every next token at once (2009.06367).

The paper counts the classes' likelihood from the end of the prompt; here from the start of the text, so that a text has
the same probability however it is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.transfer import strategy
from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.params import Range
from consort.core.types import Usage
from consort.models.base import Session
from consort.models.cost import joined
from consort.models.decoding.retokenized import View, Views
from consort.models.decoding.running_logprobs import Recall, Recalled
from consort.models.token_model import TokenModel


@strategy(paper="2009.06367", example={"desired": "a", "undesired": "b"})
class Gedi(TokenModel):
    """log p(x | s) + omega log p(desired | s, x), by Bayes' rule from a guide that reads one control code or another.

    The class log-likelihoods are divided by the length unless `length_norm` is off (then the rule is exact); `bias` is
    added for the desired class. Sorted by p(desired), tokens outside the first `filter_p` of the guided mass and below
    `target_p` are left out; `filter_p` 1 leaves out none. Raises Incompatible if the guide's vocabulary is another.
    """

    def __init__(
        self,
        model: TokenModel,
        guide: TokenModel,
        *,
        desired: str = "true",
        undesired: str = "false",
        omega: Annotated[float, Range(0, 10000)] = 30.0,
        filter_p: Annotated[float, Range(0, 1)] = 0.8,
        target_p: Annotated[float, Range(0, 1)] = 0.8,
        bias: float = 0.0,
        length_norm: bool = True,
    ) -> None:
        for one in (model, guide):
            if not isinstance(one, TokenModel):
                raise Unsupported("does not show its logits", field=one.name, hint="take a local model")
        self.model, self.guide, self.desired, self.undesired = model, guide, desired, undesired
        self.omega, self.filter_p, self.target_p = omega, filter_p, target_p
        self.bias, self.length_norm = bias, length_norm
        if guide.tokenizer.vocabulary_key != model.tokenizer.vocabulary_key:
            message = f"{model.name} and {guide.name} have different vocabularies"
            raise Incompatible(message, field="guide", hint="take models of one tokenizer, or wrap each in as_bytes")
        self.tokenizer, self.name = model.tokenizer, f"gedi({model.name}, {guide.name})"
        self.codes = [self.tokenizer.encode(code, special=False) for code in (desired, undesired)]
        if self.codes[0] == self.codes[1]:
            message = "is the desired code, or both are empty"
            raise BadParameter(message, field="undesired", hint="give two control codes")
        self.window = min((m.window for m in (model, guide) if m.window is not None), default=None)
        self.batch_tokens = min(model.batch_tokens, guide.batch_tokens)

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return (self.model, self.guide)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def open(self, batch: int = 1) -> Session:
        return GediSession(self, batch)


class GediSession:
    """Readers are the model, the guide with the desired and the guide with the undesired code."""

    def __init__(self, owner: Gedi, batch: int) -> None:
        self.owner = owner
        self.model = Views(owner.model, [None], batch)
        self.guide = Views(owner.guide, [coded(owner.tokenizer.bos, code) for code in owner.codes], batch)
        self.recall = Recall(batch, self._read, self._back)

    def _read(self, tokens: Sequence[Sequence[int]]) -> tuple[Float[Tensor, "reader row vocab"], list[int]]:
        columns = [*self.model.feed(tokens), *self.guide.feed(tokens)]
        size, device = min(x.shape[-1] for x in (c[0] for c in columns)), columns[0][0].device
        logp = [torch.cat([x[:, :size] for x in column]).to(device).log_softmax(-1) for column in columns]
        return torch.stack(logp), [len(x) for x in columns[0]]

    def _back(self, lengths: Sequence[int]) -> None:
        self.model.rollback(lengths)
        self.guide.rollback(lengths)

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return [self._scores(row, last) for row in self.recall.feed(tokens, last=last)]

    def _scores(self, row: Recalled, last: bool) -> Float[Tensor, "new vocab"]:
        new = row.logp.shape[1]
        wanted = list(range(new))[-1:] if last else list(range(new))
        if not wanted:
            return row.logp[0]
        past = torch.stack([row.upto(at + 1)[:, 1:].sum(0) for at in wanted])
        counts = [len(row.upto(at + 1)) for at in wanted]
        classes = row.logp[1:, wanted] + past.T.unsqueeze(-1)
        if self.owner.length_norm:
            classes = classes / torch.tensor([n + 1 for n in counts], device=classes.device).view(1, -1, 1)
        classes = torch.stack([classes[0] + self.owner.bias, classes[1]])
        verdict = classes.log_softmax(0)[0]
        return guided(row.logp[0, wanted], verdict, self.owner.omega, self.owner.filter_p, self.owner.target_p)

    def rollback(self, lengths: Sequence[int]) -> None:
        self.recall.rollback(lengths)

    def select(self, rows: Sequence[int]) -> GediSession:
        self.model.select(rows)
        self.guide.select(rows)
        self.recall.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        pairs = zip(self.model.spent(), self.guide.spent(), strict=True)
        owner = self.owner
        return self.recall.charged([joined(owner, [(owner.model, a), (owner.guide, b)]) for a, b in pairs])


def coded(bos: int | None, code: Sequence[int]) -> View:
    """The tokens with a control code in front, behind the token that starts a text."""

    def view(tokens: Sequence[int]) -> Sequence[int]:
        at = int(bool(tokens) and tokens[0] == bos)
        return [*tokens[:at], *code, *tokens[at:]]

    return view


def guided(
    logp: Float[Tensor, "row vocab"],
    verdict: Float[Tensor, "row vocab"],
    omega: float,
    filter_p: float = 1.0,
    target_p: float = 1.0,
) -> Float[Tensor, "row vocab"]:
    """log p + omega log p(desired), filtered: kept are the best by p(desired) up to a mass, and all above a target."""
    verdict = verdict.where(~verdict.isnan(), -math.log(2))  # a token that both classes forbid
    scores = logp + omega * verdict
    if filter_p >= 1:
        return scores
    # equal verdicts, up to rounding, are ordered by the model's own preference
    likely = logp.argsort(dim=-1, descending=True, stable=True)
    ids = likely.gather(-1, verdict.round(decimals=4).gather(-1, likely).argsort(dim=-1, descending=True, stable=True))
    ordered = verdict.gather(-1, ids)
    mass = scores.softmax(-1).gather(-1, ids)
    inside = (mass.cumsum(-1) - mass < filter_p) | (ordered >= math.log(max(target_p, 1e-30)))
    kept = torch.zeros_like(inside).scatter_(-1, ids, inside)
    return scores.where(kept, -torch.inf)
