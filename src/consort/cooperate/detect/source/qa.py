"""Question answering (QAGS, 2004.04228): questions about an answer, answered from it and from its source.

Clearly below NLI where both have been compared (QuestEval 72.5, FEQA 48.3 against 79 on SummaC), so take it where there
is a language model and no NLI checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.detect import detector
from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.base import Judging, of_sentences, parts_of, with_costs
from consort.cooperate.detect.sentences import Sentence
from consort.core.params import Range
from consort.evaluate.metrics.token_f1 import f1, normalised_words
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding, Quote

QUESTIONS = (
    "Text:\n{text}\n\nWrite {n} questions that this text answers, each about another fact of it. Reply with a JSON "
    "list of strings and nothing else."
)
ANSWER = (
    "Text:\n{text}\n\nQuestion: {question}\nAnswer in a few words, from the text alone, or say unanswerable.\nAnswer:"
)
NOTHING = "unanswerable"


@detector(needs=("source",), paper="2004.04228", example={"model": "asks"})
class Qa(Judging):
    """1 less the token F1 of the answers that `model` gives to its own questions from the source and from the answer.

    Up to `n` questions a sentence; a question that the sentence itself cannot answer is dropped, one that the source
    cannot answer counts 1. A sentence without questions is not known.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        n: Annotated[int, Range(1, 100)] = 3,
        questions: str = "",
        answer: str = "",
    ) -> None:
        self.model, self.n, self.questions, self.answer = model, n, questions, answer
        self.asks = template_of(questions, QUESTIONS, "text")
        self.answers = template_of(answer, ANSWER, "text", "question")

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        asking = Asking(self.model)
        parts = [(case, part) for case in cases for part in parts_of(case)]
        lists = asking.lists([filled(self.asks, text=quoted(part.text), n=self.n) for _, part in parts], max_tokens=192)
        rows = [
            (i, question) for i, one in enumerate(lists) for question in list(dict.fromkeys(one or ()))[: self.n]
        ]  # fmt: skip
        own = self._answered(asking, [(parts[i][1].text, question) for i, question in rows])
        kept = [(row, said) for row, said in zip(rows, own, strict=True) if said]
        told = self._answered(asking, [(parts[i][0].source, question) for (i, question), _ in kept])
        doubts: dict[int, list[float]] = {}
        quotes: dict[int, list[Quote]] = {}
        for ((i, question), said), other in zip(kept, told, strict=True):
            likeness = f1(normalised_words(said), normalised_words(other)) if other else 0.0
            doubts.setdefault(i, []).append(1 - likeness)
            quotes.setdefault(i, []).append(Quote(f"{question} {other or NOTHING}", score=2 * likeness - 1))
        return with_costs(self._findings(cases, parts, doubts, quotes), asking.spent())

    def _answered(self, asking: Asking, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """What the model answers; empty where it says that there is no answer."""
        prompts = [filled(self.answers, text=quoted(text), question=question) for text, question in pairs]
        said = [text.strip().split("\n")[0] for text in asking.texts(prompts, max_tokens=32)]
        return ["" if NOTHING in text.lower() else text for text in said]

    def _findings(
        self,
        cases: Sequence[Case],
        parts: Sequence[tuple[Case, Sentence]],
        doubts: dict[int, list[float]],
        quotes: dict[int, list[Quote]],
    ) -> list[Finding]:
        found, at = [], 0
        for case in cases:
            own = range(at, at + len(parts_of(case)))
            at = own.stop
            known = [i for i in own if i in doubts]
            if not known:
                found.append(Finding(None, notes=("no question could be answered",)))
                continue
            means = [math.fsum(doubts[i]) / len(doubts[i]) for i in known]
            evidence = [tuple(quotes[i]) for i in known]
            found.append(of_sentences([parts[i][1] for i in known], means, evidence=evidence))
        return found
