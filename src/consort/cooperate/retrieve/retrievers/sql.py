"""Rows of a database as evidence: a model writes the query for what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

from consort.cooperate.retrieve.asking import Costs
from consort.cooperate.retrieve.quoting import controls_of
from consort.cooperate.retrieve.retrievers import retriever
from consort.cooperate.retrieve.text_to_sql import evidence_of
from consort.cooperate.retrieve.writing_sql import written
from consort.core.params import Range
from consort.core.types import Sampling
from consort.knowledge.evidence import Evidence, checked
from consort.knowledge.tables import Tables
from consort.models.base import LanguageModel


@retriever()
class Sql:
    """The rows that `model`'s query returns from `database`, one piece of evidence; none where no query runs.

    Queries are guarded (one SELECT, read only, bounded in rows, letters and `timeout_s`) and repaired at most `repairs`
    times; a query has at most `max_tokens`.
    """

    def __init__(
        self,
        *,
        model: LanguageModel,
        database: str,
        repairs: Annotated[int, Range(0, 20)] = 2,
        timeout_s: Annotated[float, Range(0.01, 3600)] = 5.0,
        max_tokens: Annotated[int, Range(1, 4096)] = 256,
    ) -> None:
        self.model, self.database, self.repairs = model, str(database), repairs
        self.timeout_s, self.max_tokens = timeout_s, max_tokens
        self.tables = Tables(self.database, timeout_s=timeout_s)

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return (self.model,)

    @cached_property
    def controls(self) -> tuple[str, ...]:
        return controls_of(self.model)

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        return self.search_counted(queries, k)[0]

    def search_counted(self, queries: Sequence[str], k: int) -> tuple[list[list[Evidence]], list[Costs]]:
        checked(queries, k)
        asked = [i for i, query in enumerate(queries) if query.strip()]
        attempts = written(
            self.model, self.tables, [queries[i] for i in asked], sampling=Sampling(max_tokens=self.max_tokens),
            repairs=self.repairs, controls=self.controls,
        )  # fmt: skip
        found: dict[int, list[Evidence]] = {}
        costs: dict[int, Costs] = {}
        for i, one in zip(asked, attempts, strict=True):
            found[i] = evidence_of(one, self.database) if one.rows and one.rows.rows else []
            costs[i] = one.costs
        return [found.get(i, []) for i in range(len(queries))], [costs.get(i, []) for i in range(len(queries))]
