"""Looking ahead: several continuations of every row read as one batch, then forgotten, their cost kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from consort.core.types import Usage, add_cost
from consort.models.base import Session

S = TypeVar("S", bound=Session)
R = TypeVar("R")


class Ahead(Generic[S]):
    """A session that can look ahead. `kind` gives back the type of a session after `select` (an ability it has)."""

    def __init__(self, session: S, batch: int, kind: Callable[[Session], S]) -> None:
        self.session, self.kind = session, kind
        self.paid: list[dict[str, Usage]] = [{} for _ in range(batch)]

    def look(
        self, continuations: Sequence[Sequence[Sequence[int]]], feed: Callable[[S, Sequence[Sequence[int]]], list[R]]
    ) -> list[list[R]]:
        """What `feed` gives for each continuation of each row; the rows stay as they are."""
        rows = len(continuations)
        owner = [row for row, several in enumerate(continuations) for _ in several]
        wide = self.kind(self.session.select([*range(rows), *owner]))
        nothing: list[Sequence[int]] = [[] for _ in range(rows)]
        found = feed(wide, [*nothing, *(tokens for several in continuations for tokens in several)])[rows:]
        for row, cost in zip(owner, wide.spent()[rows:], strict=True):
            # a copy is counted as called once, which its row has been already
            work = {name: replace(usage, calls=0) for name, usage in cost.items()}
            self.paid[row] = add_cost(self.paid[row], work)
        self.session = self.kind(wide.select(range(rows)))
        results = iter(found)
        return [[next(results) for _ in several] for several in continuations]

    def select(self, rows: Sequence[int]) -> None:
        self.session = self.kind(self.session.select(rows))
        self.paid = [self.paid[row] if row not in rows[:i] else {} for i, row in enumerate(rows)]

    def spent(self) -> list[dict[str, Usage]]:
        return [add_cost(own, paid) for own, paid in zip(self.session.spent(), self.paid, strict=True)]
