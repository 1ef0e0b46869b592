"""Finding evidence for claims, and what it says of them: all claims of all answers in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consort.cooperate.detect.claims.arithmetic import equations
from consort.cooperate.detect.stages.work import Claim, Label, Verdict, Work
from consort.cooperate.retrieve.asking import Found, search
from consort.core.types import Usage, add_cost
from consort.knowledge.evidence import Evidence, Retriever
from consort.models.detecting import PairScorer

OWN = "source_id"
"""In a case's details: the source of the answer itself, whose passages are no evidence for it."""


def judged(
    work: Sequence[Work], retriever: Retriever, nli: PairScorer, k: int, *, least_worth: float
) -> tuple[list[Work], Mapping[str, Usage]]:
    """The claims with their verdicts, and what the retriever's models cost.

    Claims worth less than `least_worth`, and those without evidence, stay unknown; a retriever that fails is noted.
    """
    rows = [(i, n, c) for i, one in enumerate(work) for n, c in enumerate(one.claims) if c.worth >= least_worth]
    queries = list(dict.fromkeys(q for _, _, claim in rows for q in claim.queries))
    found = dict(zip(queries, search(retriever, queries, k), strict=True))
    pieces = [_pieces(work[i], claim, found) for i, _, claim in rows]
    pairs = [(e.text, claim.statement) for (_, _, claim), each in zip(rows, pieces, strict=True) for e in each]
    scores = iter(nli.score([a for a, _ in pairs], [b for _, b in pairs]).tolist() if pairs else [])
    claims, failures = [list(one.claims) for one in work], [dict[str, None]() for _ in work]
    for (i, n, claim), each in zip(rows, pieces, strict=True):
        table = [next(scores) for _ in each]
        claims[i][n] = replace(claim, verdict=verdict_of(claim, each, table))
        failures[i] |= {found[q].failure: None for q in claim.queries if not each and found[q].failure}
    done = []
    for one, own, why in zip(work, claims, failures, strict=True):
        done.append(replace(one.with_claims(own), notes=(*one.notes, *why)))
    return done, add_cost(*(cost for one in found.values() for _, cost in one.costs))


def verdict_of(claim: Claim, evidence: Sequence[Evidence], table: Sequence[Sequence[float]]) -> Verdict:
    """Supported if the largest entailment is >= 1/2 and >= the largest contradiction, refuted if that is > 1/2."""
    sum_holds = equations(claim.statement)
    if sum_holds is not None:
        label: Label = "supported" if sum_holds else "refuted"
        return Verdict(label, (float(sum_holds), 0.0, float(not sum_holds)), (), "reckoned")
    if not table:
        return Verdict("unknown", note="no evidence")
    entail, contradict = max(row[0] for row in table), max(row[2] for row in table)
    supported = entail >= 0.5 and entail >= contradict
    label = "supported" if supported else "refuted" if contradict > 0.5 else "unknown"
    column = 2 if label == "refuted" else 0
    order = sorted(range(len(table)), key=lambda r: -table[r][column])
    return Verdict(label, (entail, max(0.0, 1 - entail - contradict), contradict), tuple(evidence[r] for r in order))


def _pieces(work: Work, claim: Claim, by_query: Mapping[str, Found]) -> list[Evidence]:
    """The evidence of a claim's queries, each once, without the answer's own text."""
    own = work.case.details.get(OWN)
    found: dict[str, Evidence] = {}
    for query in claim.queries:
        for piece in by_query[query].evidence:
            if not (own and piece.source == own):
                found.setdefault(piece.text, piece)
    return list(found.values())
