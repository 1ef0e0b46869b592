"""A draft model that reads a compressed prompt, while the target reads the whole one: cheaper guesses, nothing lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consort.cooperate.compress.compressor import Compressor, summed
from consort.cooperate.compress.roles import parts_of, touched
from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Start, Target
from consort.cooperate.speculate.drafters.draft import Draft
from consort.cooperate.speculate.drafters.model import ModelSession
from consort.cooperate.speculate.rounds.pipeline import Pipeline
from consort.core.types import Usage
from consort.models.base import Tokenizer
from consort.models.token_model import TokenModel


@drafter(paper="2310.05736", example={"compressor": "first"})
class Shortened(Drafter):
    """The draft model's own tokens after a prompt whose context `compressor` has shortened.

    What the target emits is its own after the whole prompt, whatever the draft has read: only how many guesses are
    right may change. A compressor that needs a question and finds none in a prompt leaves it whole.
    """

    def __init__(self, compressor: Compressor, draft: TokenModel | None = None) -> None:
        self.compressor, self.draft = compressor, draft

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        own = () if self.draft is None else (self.draft,)
        return (*own, *self.compressor.members)

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        assert draft is not None
        return _Session(ModelSession(draft, target.pairing(draft)), self.compressor, target.model.tokenizer)


class _Session:
    """A drafting session that starts from shorter prompts."""

    def __init__(self, inner: ModelSession, compressor: Compressor, tokenizer: Tokenizer) -> None:
        self.inner, self.compressor, self.tokenizer = inner, compressor, tokenizer
        self.paid: list[list[tuple[Any, Mapping[str, Usage]]]] = []

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.paid = []
        self.inner.start([self._short(row) for row in rows], pipeline, width)

    def _short(self, row: Start) -> Start:
        divided = parts_of(self.tokenizer.decode(row.prompt))
        self.paid.append([])
        if not touched(divided.parts) or (self.compressor.needs_question and not divided.question):
            return row
        done, spent = self.compressor.spending(divided.parts, None, divided.question, reader=self.tokenizer)
        self.paid[-1] = summed(spent)
        return replace(row, prompt=self.tokenizer.encode(str(divided.joined(done))) or row.prompt)

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        return self.inner.propose(gammas)

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        self.inner.observe(emitted)

    def select(self, rows: Sequence[int]) -> None:
        self.paid = [self.paid[row] for row in rows]
        self.inner.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        return [[*drafted, *paid] for drafted, paid in zip(self.inner.spent(), self.paid, strict=True)]
