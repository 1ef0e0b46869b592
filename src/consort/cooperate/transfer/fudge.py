"""FUDGE: a verifier of unfinished texts guides every token (2104.05218).

The paper trains a small classifier; here a language model is asked, and the odds of two answers are its verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from consort.cooperate.transfer import strategy
from consort.cooperate.transfer.guided import Guided, Verifier
from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.params import Range
from consort.core.prefix import shared_prefix
from consort.core.types import Usage
from consort.models.base import Session
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@strategy(paper="2104.05218", example={"positive": "a", "negative": "b", "top_k": 4})
class Fudge(Guided):
    """log p(x | s) + lambda log p(positive | s, x) for the `top_k` likeliest tokens x; all others are left out.

    p(positive) is how much likelier the verifier finds `positive` than `negative` after the text so far, x and
    `question`; of both answers the first token counts. `lambda` 0 is the model on its `top_k` tokens. In Python,
    `Guided` takes any function in place of a model. Raises Incompatible for a verifier with another vocabulary.
    """

    def __init__(
        self,
        model: TokenModel,
        verifier: TokenModel,
        *,
        positive: str = " yes",
        negative: str = " no",
        question: str = "",
        top_k: Annotated[int, Range(1, 1000000)] = 200,
        lambda_: Annotated[float, Range(0, 1000)] = 1.0,
    ) -> None:
        for one in (model, verifier):
            if not isinstance(one, TokenModel):
                raise Unsupported("does not show its logits", field=one.name, hint="take a local model")
        super().__init__(model, None, top_k=top_k, lambda_=lambda_)
        self.verifier_model, self.positive, self.negative, self.question = verifier, positive, negative, question
        if verifier.tokenizer.vocabulary_key != model.tokenizer.vocabulary_key:
            message = f"{model.name} and {verifier.name} have different vocabularies"
            raise Incompatible(message, field="verifier", hint="take models of one tokenizer, or wrap each in as_bytes")
        self.name = f"fudge({model.name}, {verifier.name})"
        self.answers = answer_tokens(verifier, positive, negative)
        self.asking = verifier.tokenizer.encode(question, special=False)

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return (self.model, self.verifier_model)

    def verifier(self, batch: int) -> Verifier:
        """The model that is asked whether a text will be positive."""
        return _Asked(self, batch)


def answer_tokens(verifier: TokenModel, positive: str, negative: str) -> tuple[int, int]:
    """The first tokens of two answers. Raises BadParameter where they do not tell the answers apart."""
    found = [verifier.tokenizer.encode(text, special=False) for text in (positive, negative)]
    if not all(found) or found[0][0] == found[1][0]:
        message = f"{positive!r} and {negative!r} do not begin with different tokens"
        raise BadParameter(message, field="positive", hint="take other words")
    return found[0][0], found[1][0]


class _Asked:
    """A session of the verifier, which goes ahead by each candidate and the question."""

    def __init__(self, owner: Fudge, batch: int) -> None:
        from consort.cooperate.transfer.ahead import Ahead

        self.owner = owner
        self.ahead: Ahead[Session] = Ahead(owner.verifier_model.open(batch), batch, lambda session: session)
        self.read: list[list[int]] = [[] for _ in range(batch)]

    def __call__(
        self, prefixes: Sequence[Sequence[int] | None], candidates: Int[Tensor, "row candidate"]
    ) -> Float[Tensor, "row candidate"]:
        import torch

        self._bring(prefixes)
        asked = [
            [] if prefix is None else [[token, *self.owner.asking] for token in row]
            for prefix, row in zip(prefixes, candidates.tolist(), strict=True)
        ]
        logits = self.ahead.look(asked, lambda session, tokens: session.feed(tokens, last=True))
        found = torch.zeros(candidates.shape, device=candidates.device)
        for row, verdicts in enumerate(logits):
            if verdicts:
                pair = torch.cat(verdicts)[:, list(self.owner.answers)]
                found[row] = pair.log_softmax(-1)[:, 0].to(found.device)
        return found

    def _bring(self, prefixes: Sequence[Sequence[int] | None]) -> None:
        """Read what the prefixes have more than was read before."""
        goals = [old if prefix is None else list(prefix) for old, prefix in zip(self.read, prefixes, strict=True)]
        kept = [shared_prefix(old, goal) for old, goal in zip(self.read, goals, strict=True)]
        self.ahead.session.rollback(kept)
        self.ahead.session.feed([goal[n:] for goal, n in zip(goals, kept, strict=True)], last=True)
        self.read = goals

    def select(self, rows: Sequence[int]) -> None:
        self.ahead.select(rows)
        self.read = [list(self.read[row]) for row in rows]

    def spent(self) -> list[dict[str, Usage]]:
        return self.ahead.spent()
