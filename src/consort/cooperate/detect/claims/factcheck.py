"""Fact checking by claims, a graph of stages that can be exchanged (FacTool 2307.13528, Factcheck-GPT 2311.09000).

No code is run: equations are reckoned exactly, all else is a matter of evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, joined, with_costs
from consort.cooperate.detect.claims.evidence import judged
from consort.cooperate.detect.stages.claim_query import ClaimQuery
from consort.cooperate.detect.stages.sentence_claims import SentenceClaims
from consort.cooperate.detect.stages.work import Claim, Stage, Work, checked_place
from consort.cooperate.detect.stages.worth_checking import WorthChecking
from consort.core.params import Range
from consort.core.types import Usage, add_cost
from consort.knowledge.evidence import Retriever
from consort.models.detecting import Case, Doubted, Finding, PairScorer, Quote


@detector(paper="2307.13528", example={"retriever": "facts", "nli": "fake"})
class Factcheck(Judging):
    """Claims, the evidence for each that `retriever` finds (`k` pieces a query), and what `nli` makes of it.

    Stages (`consort methods --kind stage`): decompose (sentences), decontextualise (as they stand), checkworthy (a
    number, a name or three words), query (the claim), correct (none). A claim is supported if the largest P(entailment)
    is at least 1/2 and no less than the largest P(contradiction), refuted if that is above 1/2, else unknown. `raw` is
    supported / (supported + refuted). The doubt joins the decided claims': 1 - entailment of a supported one, the
    contradiction of a refuted one. Without a decided claim nothing is known: a claim-free answer is not a good one.
    Passages whose source is the answer's own (`details["source_id"]`) are no evidence.
    """

    def __init__(
        self,
        retriever: Retriever,
        nli: PairScorer,
        *,
        decompose: Stage | None = None,
        decontextualise: Stage | None = None,
        checkworthy: Stage | None = None,
        query: Stage | None = None,
        correct: Stage | None = None,
        k: Annotated[int, Range(1, 1000)] = 5,
        least_worth: Annotated[float, Range(0, 1)] = 0.5,
        joining: Literal["mean", "max"] = "max",
    ) -> None:
        self.retriever, self.nli, self.k, self.least_worth, self.joining = retriever, nli, k, least_worth, joining
        self.decompose, self.decontextualise, self.checkworthy = decompose, decontextualise, checkworthy
        self.query, self.correct = query, correct
        self.before = [
            checked_place(decompose or SentenceClaims(), "decompose"),
            *([checked_place(decontextualise, "decontextualise")] if decontextualise else []),
            checked_place(checkworthy or WorthChecking(), "checkworthy"),
            checked_place(query or ClaimQuery(), "query"),
        ]
        self.after = [checked_place(correct, "correct")] if correct else []

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        work = [Work(case) for case in cases]
        for stage in self.before:
            work = stage.run(work)
        work, searched = judged(work, self.retriever, self.nli, self.k, least_worth=self.least_worth)
        for stage in self.after:
            work = stage.run(work)
        spent = self.nli.spent()
        costs = [searched, *(stage.spent() for stage in (*self.before, *self.after))]
        costs += [{self.nli.name: spent}] if spent != Usage() else []
        return with_costs([self._finding(one) for one in work], add_cost(*costs))

    def _finding(self, work: Work) -> Finding:
        labels = [claim.verdict.label for claim in work.claims]
        counts = {label: labels.count(label) for label in ("supported", "refuted", "unknown")}
        doubts = [(claim, claim_doubt(claim)) for claim in work.claims]
        spans = tuple(Doubted(c.start, c.end, d, quotes_of(c), c.verdict.label) for c, d in doubts)
        known = [doubt for _, doubt in doubts if doubt is not None]
        notes = work.notes
        if not known:
            notes = (*notes, "there are no claims" if not work.claims else "no claim could be decided")
        decided = counts["supported"] + counts["refuted"]
        raw = counts["supported"] / decided if decided else None
        doubt = joined(known, self.joining) if known else None
        details = {"claims": counts, "statements": tuple(c.statement for c in work.claims)}
        return Finding(doubt, raw, spans, work.revised, notes, details=details)


def claim_doubt(claim: Claim) -> float | None:
    """1 - P(entailment) of a supported claim, P(contradiction) of a refuted one; None of one that is not decided."""
    entail, _, contradict = claim.verdict.p
    return {"supported": clipped(1 - entail), "refuted": clipped(contradict)}.get(claim.verdict.label)


def quotes_of(claim: Claim) -> tuple[Quote, ...]:
    """The evidence of a verdict, best first."""
    entail, _, contradict = claim.verdict.p
    score = -contradict if claim.verdict.label == "refuted" else entail
    return tuple(Quote(e.text, e.source, score if i == 0 else 0.0) for i, e in enumerate(claim.verdict.evidence))
