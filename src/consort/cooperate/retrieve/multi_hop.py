"""Retrieve, answer, retrieve: what a first answer says is looked up again, a bounded number of times (2212.10509).

Each round asks the retriever with the question and what was said so far, so that a fact that only the first evidence
names can be found by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from consort.cooperate.retrieve import strategy
from consort.cooperate.retrieve.asking import Costs, members_of, search
from consort.cooperate.retrieve.quoting import (
    DEFAULT,
    citations,
    controls_of,
    plainly,
    query_of,
    quoted,
    with_evidence,
)
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.knowledge.evidence import Evidence, Retriever
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, joined


@strategy(paper="2212.10509")
class MultiHop:
    """Ask `model` with evidence for the question, then with evidence for question and answer, at most `rounds` times.

    Each round looks for `k` pieces that are not known yet, and shows the model all that were found. It ends when a
    round finds nothing new, or when the answer stays the same. `quote` and `template` are those of `augmented`.
    `details` has `rounds` (query and number of new pieces of each), `evidence`, `citations`, and `unretrieved` where
    nothing was found at all.
    """

    def __init__(
        self,
        model: LanguageModel,
        retriever: Retriever,
        *,
        rounds: Annotated[int, Range(1, 10)] = 2,
        k: Annotated[int, Range(1, 1000)] = 3,
        quote: Literal["marks", "plain"] = "marks",
        template: str = "",
    ) -> None:
        self.model, self.retriever, self.rounds, self.k = model, retriever, rounds, k
        self.quote, self.template = quote, template
        if template and ("{evidence}" not in template or "{question}" not in template):
            hint = "write both where they shall stand: '{evidence}\\n\\n{question}'"
            raise BadParameter("has no {evidence} or no {question}", field="template", hint=hint)
        self.name = f"multi_hop({model.name})"

    @property
    def members(self) -> Sequence[Any]:
        return (self.model, *members_of(self.retriever))

    @property
    def gives_logprob(self) -> bool:
        return bool(getattr(self.model, "gives_logprob", True))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        rows = [_Row(prompt) for prompt in prompts]
        for number in range(self.rounds):
            open_ = [i for i, row in enumerate(rows) if not row.ended]
            if not open_:
                break
            self._look_up([rows[i] for i in open_])
            asked = [i for i in open_ if rows[i].answer is None or not rows[i].ended]
            answers = (
                self.model.generate([self._shown(rows[i]) for i in asked], sampling.of_rows(asked)) if asked else []
            )
            for i, answer in zip(asked, answers, strict=True):
                self._take(rows[i], answer, last=number == self.rounds - 1)
        return [self._completion(row) for row in rows]

    def _look_up(self, rows: Sequence[_Row]) -> None:
        """Enter what is new for each question with what was said so far; a round without news ends a row."""
        queries = [" ".join(filter(None, (query_of(row.prompt), row.said))) for row in rows]
        for row, query, found in zip(rows, queries, search(self.retriever, queries, self.k * self.rounds), strict=True):
            known = {one.id for one in row.evidence}
            new = [one for one in found.evidence if one.id not in known][: self.k]
            row.costs += found.costs
            row.rounds.append({"query": query, "new": len(new)})
            row.evidence += new
            row.failure = row.failure or ("" if row.evidence else found.failure)
            row.ended = not new and row.answer is not None

    def _shown(self, row: _Row) -> Prompt:
        if not row.evidence:
            return row.prompt
        write = quoted if self.quote == "marks" else plainly
        usual = DEFAULT if self.quote == "marks" else "{evidence}\n{question}"
        return with_evidence(row.prompt, write(row.evidence, controls_of(self.model)), self.template or usual)

    def _take(self, row: _Row, answer: Completion, *, last: bool) -> None:
        row.costs.append((self.model, cost_of(self.model, answer)))
        row.ended = last or not row.evidence or (row.answer is not None and answer.text == row.answer.text)
        row.answer, row.said = answer, answer.text

    def _completion(self, row: _Row) -> Completion:
        answer = row.answer or Completion("")
        details: dict[str, Any] = {
            **answer.details,
            "retrieved": bool(row.evidence),
            "rounds": row.rounds,
            "evidence": [one.described() for one in row.evidence],
            "citations": citations(answer.text, row.evidence),
        }
        if row.failure and not row.evidence:
            details["unretrieved"] = row.failure
        return replace(answer, cost=joined(self, row.costs), details=details)


@dataclass(slots=True)
class _Row:
    """A prompt on its way through the rounds."""

    prompt: Prompt
    evidence: list[Evidence] = field(default_factory=list)
    answer: Completion | None = None
    said: str = ""
    failure: str = ""
    ended: bool = False
    rounds: list[dict[str, Any]] = field(default_factory=list)
    costs: Costs = field(default_factory=list)
