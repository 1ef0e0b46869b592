"""The adaptive n-gram counts of ANPD (2404.08698)."""

from __future__ import annotations

from typing import Annotated

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Target
from consort.cooperate.speculate.drafters.index import CountIndex
from consort.cooperate.speculate.drafters.text_session import TextSession
from consort.core.params import Range
from consort.models.token_model import TokenModel


@drafter(paper="2404.08698")
class Ngram(Drafter):
    """The most frequent successor in the text so far under the highest order, from `max_n` down to 2, that is known."""

    def __init__(self, *, max_n: Annotated[int, Range(2, 64)] = 3) -> None:
        self.max_n = max_n

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        return TextSession(lambda: CountIndex(range(2, self.max_n + 1)))
