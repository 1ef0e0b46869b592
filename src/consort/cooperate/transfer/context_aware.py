"""Context-aware decoding: trust the context more than the model's own memory (2305.14739)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.transfer import strategy
from consort.cooperate.transfer.combined import Combined, Mask, Term
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.models.base import Tokenizer, TokenModel
from consort.models.decoding.retokenized import View


@strategy(paper="2305.14739", example={"separator": "b"})
class ContextAware(Combined):
    """(1 + alpha) log p(y | context, query) - alpha log p(y | query), by one model (eq. 3).

    The context is what stands before the first `separator` in the prompt; without one there is no context and the
    model is as it is. `alpha`: 0.5 suits summaries, 1 conflicts of context and knowledge. `filter_p`: only the nucleus
    of this mass of the model with context (1: all tokens).
    """

    def __init__(
        self,
        model: TokenModel,
        *,
        separator: str = "\n\n",
        alpha: Annotated[float, Range(0, 1000)] = 0.5,
        filter_p: Annotated[float, Range(0, 1)] = 1.0,
    ) -> None:
        self.model, self.separator, self.alpha, self.filter_p = model, separator, alpha, filter_p
        if not separator:
            raise BadParameter("is empty", field="separator", hint="the text between context and query")
        without = after_separator(model.tokenizer, separator) if isinstance(model, TokenModel) else None
        super().__init__([Term(model, 1 + alpha), Term(model, -alpha, view=without)], Mask(top_p=filter_p))


def after_separator(tokenizer: Tokenizer, separator: str) -> View:
    """The tokens behind the first separator, after the token that starts a text; all of them while there is none."""

    def view(tokens: Sequence[int]) -> Sequence[int] | None:
        if separator not in tokenizer.decode(tokens):
            return tokens
        low, high = 0, len(tokens)  # the fewest tokens whose text has it
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if separator in tokenizer.decode(tokens[:middle]) else (middle, high)
        head = tokens[:1] if tokens[0] == tokenizer.bos else []
        return [*head, *tokens[high:]] or None

    return view
