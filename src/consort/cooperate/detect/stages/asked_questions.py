"""A model asks the questions by which a claim can be checked (FacTool 2307.13528, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Place, Work
from consort.core.params import Range
from consort.core.types import Usage
from consort.models.base import LanguageModel

TEMPLATE = (
    "Statement:\n{claim}\n\nWrite {n} search queries by which the statement can be checked. Reply with a JSON list of "
    "strings and nothing else."
)


@stage(paper="2307.13528")
class AskedQuestions:
    """Up to `n` queries of the model, and the claim itself; where the reply cannot be read, the claim alone."""

    place: Place = "query"

    def __init__(self, model: LanguageModel, *, n: Annotated[int, Range(1, 100)] = 2, template: str = "") -> None:
        self.model, self.n, self.template = model, n, template
        self.wording = template_of(template, TEMPLATE, "claim")
        self.asking = Asking(model)

    def run(self, work: Sequence[Work]) -> list[Work]:
        prompts = [filled(self.wording, claim=quoted(c.statement), n=self.n) for one in work for c in one.claims]
        said = iter(self.asking.lists(prompts, max_tokens=128))
        return [
            one.with_claims(
                [
                    replace(c, queries=tuple(dict.fromkeys((c.statement, *(next(said) or [])[: self.n]))))
                    for c in one.claims
                ]
            )
            for one in work
        ]

    def spent(self) -> Mapping[str, Usage]:
        return self.asking.spent()
