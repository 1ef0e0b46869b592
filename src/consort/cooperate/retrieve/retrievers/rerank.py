"""What another retriever finds, in a better order: each passage is read together with the query.

A cross-encoder scores the pair (1901.04085); or a language model does, by the probability that it says "yes" when asked
whether the passage helps, or by the likelihood of the query after the passage (2204.07496).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal

from consort.cooperate.retrieve.asking import Costs, counted, members_of
from consort.cooperate.retrieve.quoting import controls_of, inert
from consort.cooperate.retrieve.retrievers import retriever
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.knowledge.evidence import Evidence, Retriever, checked
from consort.knowledge.order import id_key
from consort.models.base import LanguageModel
from consort.models.cost import scored

ASKED = "Passage: {passage}\nQuestion: {query}\nDoes the passage help to answer the question? Answer yes or no:"


@retriever(
    paper="1901.04085",
    example={"model": "law"},
)
class Rerank:
    """The `top` first pieces that `retriever` finds, ordered by a reader of pairs; those behind are not returned.

    The reader is `model`, by the probability of "yes" (`yes`) or by the mean log-likelihood of the query's tokens after
    the passage (`query`); or `cross_encoder`, the folder of a sequence classifier with one output, or two of which the
    second is "relevant".
    """

    def __init__(
        self,
        *,
        retriever: Retriever,
        model: LanguageModel | None = None,
        cross_encoder: str = "",
        by: Literal["yes", "query"] = "yes",
        top: Annotated[int, Range(1, 10000)] = 50,
    ) -> None:
        self.retriever, self.model, self.cross_encoder = retriever, model, str(cross_encoder)
        self.by, self.top = by, top
        if (model is None) == (not cross_encoder):
            hint = "model: a, or cross_encoder: FOLDER"
            raise BadParameter("needs a model or a cross-encoder, not both", field="model", hint=hint)
        if model is not None and not hasattr(model, "score"):
            raise Unsupported("does not tell log-likelihoods", field=model.name, hint="take a model that scores")

    @property
    def members(self) -> Sequence[Any]:
        return (*members_of(self.retriever), *(() if self.model is None else (self.model,)))

    @cached_property
    def classifier(self) -> Any:
        """The cross-encoder, read when it is first asked for."""
        from consort.cooperate.retrieve.cross_encoder import CrossEncoder

        return CrossEncoder(self.cross_encoder)

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        return self.search_counted(queries, k)[0]

    def search_counted(self, queries: Sequence[str], k: int) -> tuple[list[list[Evidence]], list[Costs]]:
        checked(queries, k)
        found, costs = counted(self.retriever, queries, max(k, self.top))
        pairs = [(query, one.text) for query, hits in zip(queries, found, strict=True) for one in hits]
        scores = iter(self._scores(pairs, found, costs) if pairs else [])
        ordered = []
        for hits in found:
            read = [replace(one, score=next(scores)) for one in hits]
            ordered.append(sorted(read, key=lambda one: (-one.score, id_key(one.id)))[:k])
        return ordered, costs

    def _scores(
        self, pairs: Sequence[tuple[str, str]], found: Sequence[Sequence[Evidence]], costs: Sequence[Costs]
    ) -> list[float]:
        """A score for each pair of query and passage; a model's work is entered with its first query."""
        if self.model is None:
            return [float(score) for score in self.classifier.score(pairs)]
        controls = controls_of(self.model)
        read = [(inert(query, controls), inert(passage, controls)) for query, passage in pairs]
        if self.by == "query":
            values, _, cost = scored(self.model, [(f"{passage}\n", query) for query, passage in read])
            told = [value / max(1, len(query)) for value, (query, _) in zip(values, read, strict=True)]
        else:
            asked = [ASKED.replace("{query}", query).replace("{passage}", passage) for query, passage in read]
            values, _, cost = scored(self.model, [(text, word) for text in asked for word in (" yes", " no")])
            told = [_share(yes, no) for yes, no in zip(values[::2], values[1::2], strict=True)]
        first = next(i for i, hits in enumerate(found) if hits)
        costs[first].append((self.model, cost))
        return told


def _share(yes: float, no: float) -> float:
    """The probability of "yes" among the two.

    >>> _share(-1.0, -1.0)
    0.5
    """
    return 1 / (1 + math.exp(min(700.0, no - yes)))
