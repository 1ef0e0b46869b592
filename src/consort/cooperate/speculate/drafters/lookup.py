"""Prompt lookup: what followed the end of the text when it stood there before."""

from __future__ import annotations

from typing import Annotated

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Target
from consort.cooperate.speculate.drafters.index import SuffixIndex
from consort.cooperate.speculate.drafters.text_session import TextSession
from consort.core.params import Range
from consort.models.token_model import TokenModel


@drafter(paper="2304.04487")
class Lookup(Drafter):
    """What followed the longest ending of the text, of at most `max_n` tokens, that occurred before, most recently."""

    def __init__(self, *, max_n: Annotated[int, Range(1, 64)] = 3) -> None:
        self.max_n = max_n

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        return TextSession(lambda: SuffixIndex(range(1, self.max_n + 1)))
