"""A drafter: the last token once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Target
from consort.cooperate.speculate.drafters.text_session import TextSession
from consort.core.params import Range
from consort.models.token_model import TokenModel


class Last:
    """The last token of a text, as often as `times`."""

    def __init__(self, times: int) -> None:
        self.times, self.tokens = times, []

    def extend(self, tokens: Sequence[int]) -> None:
        self.tokens.extend(tokens)

    def continuation(self, most: int) -> list[int]:
        return self.tokens[-1:] * min(most, self.times)


@drafter()
class Echo(Drafter):
    """The last token, repeated up to `times` times."""

    def __init__(self, *, times: Annotated[int, Range(1, 64)] = 2) -> None:
        self.times = times

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        return TextSession(lambda: Last(self.times))
