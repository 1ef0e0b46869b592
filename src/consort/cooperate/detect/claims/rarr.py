"""RARR (2210.08726): research an answer by questions, and revise it where the evidence says otherwise.

Released code bounds an edit by 100 times the text, which never binds; here by half of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from consort.cooperate.detect import detector
from consort.cooperate.detect.asking import Asking, filled, list_in, quoted, template_of
from consort.cooperate.detect.base import Judging, clipped, of_sentences, parts_of, with_costs
from consort.cooperate.detect.guarding.edits import preservation, within
from consort.cooperate.detect.sentences import sentences
from consort.cooperate.detect.words import words_of
from consort.cooperate.retrieve.asking import search
from consort.core.params import Range
from consort.core.types import Sampling, Usage, add_cost
from consort.knowledge.evidence import Retriever
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding, PairScorer, Quote

QUESTIONS = (
    "Text:\n{answer}\n\nTo check the text, what would you ask a search engine? Reply with a JSON list of questions and "
    "nothing else."
)
GATE = (
    "Text:\n{answer}\n\nQuestion: {question}\n\nEvidence:\n{evidence}\n\nDoes the evidence imply another answer to the "
    "question than the text does? Answer Yes or No.\nAnswer:"
)
EDIT = (
    "Text:\n{answer}\n\nQuestion: {question}\n\nEvidence:\n{evidence}\n\nRevise the text so that it agrees with the "
    "evidence. Change as few words as you can. Say the revised text and nothing else.\nRevised text:"
)
SEED = 7919


@dataclass(slots=True)
class _Row:
    """An answer being revised."""

    case: Case
    text: str
    asked: int = 0
    refused: int = 0
    disagreed: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    quotes: dict[str, Quote] = field(default_factory=dict)


@detector(paper="2210.08726", example={"model": "agrees", "retriever": "facts"})
class Rarr(Judging):
    """The share of questions whose evidence disagrees with the answer (`raw`), and the answer revised by that evidence.

    `model` asks questions in `rounds` (at `temperature`, put together, each once), says of each whether the best
    evidence implies another answer, and edits only then; the next question sees the edited text. Evidence is, of the
    `k` pieces found, the window of `window` sentences that shares most words with the question. An edit of more than
    `most` of the text is refused. `nli`, where it is given, attributes: spans of the revised text get 1 - P(entailment)
    by the evidence. `details` has attribution and preservation. Without evidence the answer stays and nothing is known.
    """

    def __init__(
        self,
        model: LanguageModel,
        retriever: Retriever,
        *,
        nli: PairScorer | None = None,
        rounds: Annotated[int, Range(1, 100)] = 3,
        k: Annotated[int, Range(1, 100)] = 5,
        window: Annotated[int, Range(1, 100)] = 4,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        most: Annotated[float, Range(0, 1)] = 0.5,
        questions: str = "",
        gate: str = "",
        edit: str = "",
    ) -> None:
        self.model, self.retriever, self.nli = model, retriever, nli
        self.rounds, self.k, self.window = rounds, k, window
        self.temperature, self.most = temperature, most
        self.questions, self.gate, self.edit = questions, gate, edit
        self.asks = template_of(questions, QUESTIONS, "answer")
        self.gates = template_of(gate, GATE, "answer", "question", "evidence")
        self.edits = template_of(edit, EDIT, "answer", "question", "evidence")

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        asking, rows = Asking(self.model), [_Row(case, case.answer) for case in cases]
        asked = self._questions(rows, asking)
        best, searched = self._evidence(rows, asked)
        for turn in range(max(map(len, asked), default=0)):
            live = [(row, q[turn], e[turn]) for row, q, e in zip(rows, asked, best, strict=True) if turn < len(q)]
            self._turn([one for one in live if one[2] is not None], asking)  # type: ignore[misc]
        found = [self._finding(row) for row in rows]
        spent = {self.nli.name: self.nli.spent()} if self.nli is not None else {}
        return with_costs(found, add_cost(asking.spent(), searched, spent))

    def _questions(self, rows: Sequence[_Row], asking: Asking) -> list[list[str]]:
        """The questions of all rounds, each once."""
        prompts = [filled(self.asks, answer=quoted(row.text)) for row in rows for _ in range(self.rounds)]
        seeds = tuple(SEED * number for _ in rows for number in range(self.rounds))
        said = iter(asking.texts(prompts, sampling=Sampling(192, self.temperature, seeds=seeds)))
        found = []
        for row in rows:
            lists = [list_in(next(said)) for _ in range(self.rounds)]
            found.append(list(dict.fromkeys(question for one in lists for question in one or ())))
            if not found[-1]:
                row.notes["no question could be read"] = None
        return found

    def _evidence(
        self, rows: Sequence[_Row], asked: Sequence[Sequence[str]]
    ) -> tuple[list[list[Quote | None]], Mapping[str, Usage]]:
        """The best window of evidence for each question; None where nothing is found."""
        queries = list(dict.fromkeys(question for questions in asked for question in questions))
        found = dict(zip(queries, search(self.retriever, queries, self.k), strict=True))
        best: list[list[Quote | None]] = []
        for row, questions in zip(rows, asked, strict=True):
            best.append([])
            for question in questions:
                one = found[question]
                windows = [(w, e.source) for e in one.evidence for w in windows_of(e.text, self.window)]
                wanted = set(words_of(question))
                top = max(windows, key=lambda w: len(wanted & set(words_of(w[0]))), default=None)
                best[-1].append(None if top is None else Quote(*top))
                if top is None:
                    row.notes[one.failure or "nothing was found"] = None
        return best, add_cost(*(cost for one in found.values() for _, cost in one.costs))

    def _turn(self, live: Sequence[tuple[_Row, str, Quote]], asking: Asking) -> None:
        """One question of each answer: does the evidence disagree, and if so, is the text edited?"""
        gates = [self._filled(self.gates, *one) for one in live]
        disagree = [one for one, said in zip(live, asking.yes_no(gates), strict=True) if said]
        for row, _, quote in live:
            row.asked += 1
            row.quotes[quote.text] = quote
        edits = asking.texts([self._filled(self.edits, *one) for one in disagree], max_tokens=256)
        for (row, _, _), said in zip(disagree, edits, strict=True):
            row.disagreed += 1
            new = said.strip()
            if new and within(row.text, new, self.most):
                row.text = new
            elif new:
                row.refused += 1

    def _filled(self, template: str, row: _Row, question: str, quote: Quote) -> str:
        return filled(template, answer=quoted(row.text), question=question, evidence=quoted(quote.text))

    def _finding(self, row: _Row) -> Finding:
        if not row.asked:
            return Finding(None, notes=tuple(row.notes) or ("no evidence",))
        raw = row.disagreed / row.asked
        details = {"preservation": preservation(row.case.answer, row.text), "edits_refused": row.refused}
        attribution, quotes = self._attribution(row)
        if attribution is not None:
            details["attribution"] = attribution
        notes = (*row.notes, *((f"{row.refused} edits were too long",) if row.refused else ()))
        revised = row.text if row.text != row.case.answer else None
        parts = parts_of(row.case)
        spans = of_sentences(parts, [clipped(raw)] * len(parts), evidence=[quotes] * len(parts)).spans
        return Finding(clipped(raw), raw, spans, revised, notes, details=details)

    def _attribution(self, row: _Row) -> tuple[float | None, tuple[Quote, ...]]:
        """The mean over sentences of the revised text of P(entailment) by the evidence, the largest of each."""
        quotes = tuple(row.quotes.values())
        if self.nli is None:
            return None, quotes
        parts = [s.text for s in sentences(row.text)] or [row.text]
        pairs = [(quote.text, part) for part in parts for quote in quotes]
        scores = self.nli.score([a for a, _ in pairs], [b for _, b in pairs])[:, 0].reshape(len(parts), len(quotes))
        return float(scores.max(1).mean()), quotes


def windows_of(text: str, size: int) -> list[str]:
    """Every run of `size` sentences of a text, one sentence apart; the whole of a shorter one."""
    parts = sentences(text)
    if len(parts) <= size:
        return [text]
    return [text[parts[i].start : parts[i + size - 1].end] for i in range(len(parts) - size + 1)]
