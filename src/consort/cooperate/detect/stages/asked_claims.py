"""A model takes an answer apart into claims (FacTool 2307.13528, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.sentence_claims import SentenceClaims
from consort.cooperate.detect.stages.work import Claim, Place, Work
from consort.cooperate.detect.words import words_of
from consort.core.types import Usage
from consort.models.base import LanguageModel

TEMPLATE = (
    "Text:\n{answer}\n\nList every claim of the text that can be checked, each a short sentence that can be understood "
    "without the others. Reply with a JSON list of strings and nothing else."
)


@stage(paper="2307.13528")
class AskedClaims:
    """The claims that `model` lists, as a JSON list; where its reply cannot be read, the sentences.

    A claim stands at the sentence that shares most words with it.
    """

    place: Place = "decompose"

    def __init__(self, model: LanguageModel, *, template: str = "") -> None:
        self.model, self.template = model, template
        self.wording = template_of(template, TEMPLATE, "answer")
        self.asking = Asking(model)

    def run(self, work: Sequence[Work]) -> list[Work]:
        plain = SentenceClaims().run(work)
        said = self.asking.lists([filled(self.wording, answer=quoted(one.case.answer)) for one in work], max_tokens=512)
        return [
            one.noted("its claims could not be read: sentences were taken") if claims is None
            else one.with_claims(_placed(claims, one.claims, len(one.case.answer)))
            for one, claims in zip(plain, said, strict=True)
        ]  # fmt: skip

    def spent(self) -> Mapping[str, Usage]:
        return self.asking.spent()


def _placed(texts: Sequence[str], parts: Sequence[Claim], size: int) -> list[Claim]:
    found = []
    for text in texts:
        wanted = set(words_of(text))
        near = max(parts, key=lambda part: (len(wanted & set(words_of(part.text))), -part.start), default=None)
        start, end = (near.start, near.end) if near else (0, size)
        found.append(Claim(text, start, end, text))
    return sorted(found, key=lambda claim: claim.start)
