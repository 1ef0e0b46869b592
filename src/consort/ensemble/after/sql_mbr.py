"""Consensus among queries: the one whose rows have most in common with those of all others (MBR-EXEC, 2204.11454)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from consort.core.errors import ConsortError
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.after.vote import checked_weights
from consort.ensemble.answers.text_similarity import consensus
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.knowledge.sql_rows import Rows, overlap
from consort.knowledge.sql_text import statement_in
from consort.knowledge.tables import Tables
from consort.models.base import LanguageModel


@strategy(
    paper="2204.11454",
    exempt={"order_of_members_is_free": "the laws' answers are no statements, and of such the first is returned"},
)
class SqlMbr:
    """Ask all models for SQL and return the answer i with the largest sum over the others j of w_j overlap(i, j).

    The overlap of two queries is the F1 of the rows that they return from `database`, read only, each at most
    `timeout_s`; a query that does not run overlaps with none. `weight`: one number of at least 0 for each model. Of
    equal sums the first model wins; where no query runs, the first model's answer is returned. `details` has `ran`, the
    models whose query did.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        database: str,
        weight: Sequence[float] | None = None,
        timeout_s: Annotated[float, Range(0.01, 3600)] = 5.0,
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.database, self.weight, self.timeout_s = str(database), weight, timeout_s
        self.given = checked_weights(weight, len(self.models))
        self.tables = Tables(self.database, timeout_s=timeout_s)
        self.name = f"sql_mbr({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        outcomes = ask_side_by_side([(model, prompts, sampling) for model in self.models])
        found = []
        for row in range(len(prompts)):
            ledger = Ledger()
            said = [
                ledger.enter(label, model, answers[row])
                for label, model, answers in zip(self.labels, self.models, outcomes, strict=True)
            ]
            results = [None if c is None else self._rows(c.text) for c in said]
            ran = [m for m, rows in enumerate(results) if rows is not None]
            present = next((m for m, c in enumerate(said) if c is not None), 0)
            best = ran[self._central([r for r in results if r is not None], ran)] if ran else present
            names = tuple(self.labels[m] for m in ran)
            found.append(ledger.completion(self, said[best], answered_by=self.labels[best], ran=names))
        return found

    def _central(self, results: Sequence[Rows], ran: Sequence[int]) -> int:
        alike = np.array([[overlap(one, other) for other in results] for one in results])
        return consensus(alike, [self.given[m] for m in ran])

    def _rows(self, text: str) -> Rows | None:
        sql = statement_in(text)
        try:
            return self.tables.run(sql) if sql else None
        except ConsortError:  # it is told by its absence from `ran`
            return None
