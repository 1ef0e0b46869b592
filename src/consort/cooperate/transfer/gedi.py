"""GeDi: a model that writes in two manners judges every next token at once (2009.06367).

The paper counts the classes' likelihood from the end of the prompt; here from the start of the text, so that a text has
the same probability however it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.transfer import strategy
from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.params import Range
from consort.models.base import Session, TokenModel


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
        return (self.model, self.guide)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def open(self, batch: int = 1) -> Session:
        from consort.cooperate.transfer.gedi_session import GediSession

        return GediSession(self, batch)
