"""An answer in doubt is mended by its evidence: a change is kept only where the detector doubts the new text less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from consort.cooperate.detect import remedy
from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.guarding.edits import proposals, within
from consort.cooperate.detect.guarding.remedy import Doubtful, Judge, Remedied
from consort.core.params import Range
from consort.core.types import Completion, Sampling, Usage
from consort.models.base import LanguageModel
from consort.models.detecting import Finding

TEMPLATE = (
    "Evidence:\n{evidence}\n\nText:\n{text}\n\nCorrect the text so that it agrees with the evidence. Change as few "
    "words as you can. Say the corrected text and nothing else.\nCorrected text:"
)


@remedy(paper="2210.08726")
class Repair:
    """The answer with its doubted sentences mended, if the detector then doubts it less and no more than `threshold`.

    The detector's own revision comes first, where it has one (rarr, factcheck). Else with `model` that model is asked
    to correct each doubted sentence by the evidence for it; without one, the spans in which sentence and evidence
    differ are exchanged, one at a time, at most `tries` of them. A change of more than `most` of the answer is never
    taken, nor one that is not judged better: then, as without evidence, the answer stays.
    """

    name = "repair"

    def __init__(
        self,
        *,
        model: LanguageModel | None = None,
        most: Annotated[float, Range(0, 1)] = 0.5,
        tries: Annotated[int, Range(1, 1000)] = 12,
        template: str = "",
    ) -> None:
        self.model, self.most, self.tries, self.template = model, most, tries, template
        self.wording = template_of(template, TEMPLATE, "evidence", "text")

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return () if self.model is None else (self.model,)

    def treat(
        self, doubtful: Sequence[Doubtful], model: Any, judge: Judge, sampling: Sampling, threshold: float
    ) -> list[Remedied]:
        asking = Asking(self.model) if self.model is not None else None
        candidates, costs = [], []
        for row in doubtful:
            candidates.append(self._candidates(row, threshold, asking))
            costs.append({} if asking is None else asking.spent())
        flat = [(i, text) for i, texts in enumerate(candidates) for text in texts]
        answers = [_said(doubtful[i].answer, text) for i, text in flat]
        judged = judge([doubtful[i].prompt for i, _ in flat], answers) if flat else []
        best: dict[int, tuple[Completion, Finding]] = {}
        for (i, _), answer, (_, finding) in zip(flat, answers, judged, strict=True):
            limit = best[i][1].doubt if i in best else doubtful[i].finding.doubt
            good = finding.doubt is not None and finding.doubt <= threshold
            if good and limit is not None and finding.doubt is not None and finding.doubt < limit:
                best[i] = (answer, finding)
        return [self._remedied(candidates[i], best.get(i), costs[i]) for i in range(len(doubtful))]

    def _candidates(self, row: Doubtful, threshold: float, asking: Asking | None) -> list[str]:
        """New texts of an answer that may be better, each within the bound, in the order of trial."""
        text = row.answer.text
        found = [row.finding.revised] if row.finding.revised else []
        spans = [s for s in row.finding.spans if s.doubt is not None and s.doubt > threshold and s.evidence]
        if asking is not None and spans:
            prompts = [
                filled(
                    self.wording,
                    evidence=quoted("\n".join(q.text for q in span.evidence)),
                    text=quoted(text[span.start : span.end]),
                )
                for span in spans
            ]
            made = text
            for span, said in reversed(list(zip(spans, asking.texts(prompts, max_tokens=128), strict=True))):
                made = made[: span.start] + (said.strip() or text[span.start : span.end]) + made[span.end :]
            found.append(made)
        elif spans:
            found += self._exchanged(text, [(s.start, s.end, q.text) for s in spans for q in s.evidence])
        kept = [one for one in dict.fromkeys(found) if one != text and within(text, one, self.most)]
        return kept[: self.tries]

    def _exchanged(self, text: str, spans: Sequence[tuple[int, int, str]]) -> list[str]:
        """Texts with one span exchanged; then, where several sentences are in doubt, with one in each of them."""
        each = []
        for start, end, evidence in spans:
            new = [made for made, _ in zip(proposals(text[start:end], evidence), range(self.tries), strict=False)]
            each.append([text[:start] + made + text[end:] for made in new])
        if len({(start, end) for start, end, _ in spans}) > 1:
            made = text
            for start, end, evidence in sorted(spans, reverse=True):
                first = next(iter(proposals(text[start:end], evidence)), None)
                made = made if first is None else made[:start] + first + made[end:]
            each.insert(0, [made])
        return [texts[n] for n in range(self.tries) for texts in each if n < len(texts)]

    def _remedied(
        self, candidates: Sequence[str], best: tuple[Completion, Finding] | None, cost: Mapping[str, Usage]
    ) -> Remedied:
        if best is None:
            why = "no change is doubted less" if candidates else "there is no evidence to mend it by"
            return Remedied(None, f"kept: {why}", cost=cost)
        return Remedied(best[0], "repaired", best[1], cost)


def _said(answer: Completion, text: str) -> Completion:
    return replace(answer, text=text, tokens=(), logprob=None)
