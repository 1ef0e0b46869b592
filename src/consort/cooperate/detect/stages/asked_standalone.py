"""A model rewrites claims so that they can be understood alone (Factcheck-GPT 2311.09000, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Place, Work
from consort.core.types import Usage
from consort.models.base import LanguageModel

TEMPLATE = (
    "Text:\n{answer}\n\nStatement from the text:\n{claim}\n\nRewrite the statement so that it can be understood "
    "without the text: put names for pronouns. Say the statement and nothing else.\nStatement:"
)


@stage(paper="2311.09000")
class AskedStandalone:
    """What `model` makes of each claim beside its answer; an empty reply leaves the claim as it is."""

    place: Place = "decontextualise"

    def __init__(self, model: LanguageModel, *, template: str = "") -> None:
        self.model, self.template = model, template
        self.wording = template_of(template, TEMPLATE, "answer", "claim")
        self.asking = Asking(model)

    def run(self, work: Sequence[Work]) -> list[Work]:
        prompts = [
            filled(self.wording, answer=quoted(one.case.answer), claim=quoted(claim.text))
            for one in work
            for claim in one.claims
        ]
        said = iter(self.asking.texts(prompts, max_tokens=96))
        return [
            one.with_claims([replace(c, standalone=next(said).strip().split("\n")[0]) for c in one.claims])
            for one in work
        ]

    def spent(self) -> Mapping[str, Usage]:
        return self.asking.spent()
