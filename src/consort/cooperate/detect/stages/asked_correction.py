"""A model corrects the sentences of refuted claims by their evidence (Factcheck-GPT 2311.09000, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.guarding.repair import TEMPLATE
from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Claim, Place, Work
from consort.core.types import Usage
from consort.models.base import LanguageModel


@stage(paper="2311.09000")
class AskedCorrection:
    """The answer with each refuted claim's sentence as `model` corrects it; without refuted claims it is left alone."""

    place: Place = "correct"

    def __init__(self, model: LanguageModel, *, template: str = "") -> None:
        self.model, self.template = model, template
        self.wording = template_of(template, TEMPLATE, "evidence", "text")
        self.asking = Asking(model)

    def run(self, work: Sequence[Work]) -> list[Work]:
        rows = [(i, claim) for i, one in enumerate(work) for claim in _refuted(one)]
        prompts = [
            filled(
                self.wording,
                evidence=quoted("\n".join(e.text for e in claim.verdict.evidence)),
                text=quoted(work[i].case.answer[claim.start : claim.end]),
            )
            for i, claim in rows
        ]
        said = self.asking.texts(prompts, max_tokens=128)
        texts = [one.case.answer for one in work]
        for (i, claim), text in reversed(list(zip(rows, said, strict=True))):
            new = text.strip().split("\n")[0]
            texts[i] = texts[i][: claim.start] + (new or texts[i][claim.start : claim.end]) + texts[i][claim.end :]
        return [
            replace(one, revised=text) if text != one.case.answer else one
            for one, text in zip(work, texts, strict=True)
        ]

    def spent(self) -> Mapping[str, Usage]:
        return self.asking.spent()


def _refuted(work: Work) -> list[Claim]:
    """The first refuted claim at each place, in order."""
    found: dict[int, Claim] = {}
    for claim in work.claims:
        if claim.verdict.label == "refuted" and all(
            claim.start >= c.end or claim.end <= c.start for c in found.values()
        ):
            found.setdefault(claim.start, claim)
    return [found[start] for start in sorted(found)]
