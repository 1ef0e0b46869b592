"""A model says which claims can be checked (Factcheck-GPT 2311.09000, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Place, Work
from consort.core.types import Usage
from consort.models.base import LanguageModel

TEMPLATE = "Statement:\n{claim}\n\nIs this a statement of fact that could be checked? Answer Yes or No.\nAnswer:"
WORTH = {True: 1.0, False: 0.0, None: 0.5}


@stage(paper="2311.09000")
class AskedWorth:
    """Yes 1, no 0, anything else a half."""

    place: Place = "checkworthy"

    def __init__(self, model: LanguageModel, *, template: str = "") -> None:
        self.model, self.template = model, template
        self.wording = template_of(template, TEMPLATE, "claim")
        self.asking = Asking(model)

    def run(self, work: Sequence[Work]) -> list[Work]:
        prompts = [filled(self.wording, claim=quoted(c.statement)) for one in work for c in one.claims]
        said = iter(self.asking.yes_no(prompts))
        return [one.with_claims([replace(c, worth=WORTH[next(said)]) for c in one.claims]) for one in work]

    def spent(self) -> Mapping[str, Usage]:
        return self.asking.spent()
