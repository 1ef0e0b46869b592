"""SelfCheckGPT by prompt (2303.08896, section 5.6): a model says whether a sample supports a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.base import Judging, of_sentences, parts_of, with_costs
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding

TEMPLATE = (
    "Context:\n{sample}\n\nSentence:\n{sentence}\n\nIs the sentence supported by the context above? Answer Yes or No.\n"
    "Answer:"
)
DOUBT = {True: 0.0, False: 1.0, None: 0.5}


@detector(needs=("samples",), paper="2303.08896", example={"model": "yes"})
class SelfcheckPrompt(Judging):
    """Yes 0, no 1, anything else 1/2, meaned over samples. `template` has {sample} and {sentence}."""

    def __init__(self, model: LanguageModel, *, template: str = "") -> None:
        self.model, self.template = model, template
        self.wording = template_of(template, TEMPLATE, "sample", "sentence")

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        asking, rows = Asking(self.model), [(case, parts_of(case)) for case in cases]
        prompts = [
            filled(self.wording, sample=quoted(sample), sentence=quoted(part.text))
            for case, parts in rows
            for part in parts
            for sample in case.samples
        ]
        said = iter(asking.yes_no(prompts))
        found = []
        for case, parts in rows:
            told = [[next(said) for _ in case.samples] for _ in parts]
            doubts = [math.fsum(DOUBT[one] for one in row) / len(row) for row in told]
            unread = sum(row.count(None) for row in told)
            notes = (f"{unread} replies could not be read",) if unread else ()
            found.append(of_sentences(parts, doubts, notes=notes))
        return with_costs(found, asking.spent())
