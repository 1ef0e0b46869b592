"""Disagreement of an ensemble's members about an answer's tokens.

A mixture of models knows more than its own probability: where its members' next-token distributions lie apart, the
answer rests on some of them alone. The generalised Jensen-Shannon divergence is the part of the mixture's entropy that
comes from that (the mutual information between member and token; ensembles' "knowledge uncertainty", 2002.07650).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, with_costs
from consort.cooperate.detect.white.probabilities import context_of
from consort.cooperate.detect.white.reading import by_sentence, check_open, read_answers
from consort.core.errors import BadParameter
from consort.core.types import Usage, add_cost
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding


@detector(paper="2002.07650", example={"models": ["letters", "letters"]})
class Disagreement(Judging):
    """How far members differ, `of` an answer's tokens the mean or the largest, in [0, 1].

    Members of one vocabulary: the Jensen-Shannon divergence of their distributions over log n (`raw`: nats). Members of
    different vocabularies: 1 - e^-d, d the standard deviation over members of log p(answer) a character (`raw`: d). A
    finding of an answer that carries an `attribution` (`attributed: {model: …}`) needs no `models`: then it is the
    share of its tokens' attribution that members gave against each other.
    """

    def __init__(self, models: Sequence[LanguageModel] = (), *, of: Literal["mean", "max"] = "mean") -> None:
        self.models, self.of = tuple(models), of
        if len(self.models) == 1:
            raise BadParameter("one model cannot disagree", field="models", hint="give at least two")
        for model in self.models:
            check_open(model)

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        if not self.models:
            return [self._attributed(case) for case in cases]
        keys = {model.tokenizer.vocabulary_key for model in self.models}  # type: ignore[attr-defined]
        return self._shared(cases) if len(keys) == 1 else self._apart(cases)

    def _attributed(self, case: Case) -> Finding:
        given = case.details.get("attribution")
        if not given:
            return Finding(None, notes=("the answer tells no attribution: name `models`",))
        rows = list(zip(*given.values(), strict=True))
        values = [_opposed(row) for row in rows] or [0.0]
        raw = self._joined(values)
        return Finding(clipped(raw), raw)

    def _shared(self, cases: Sequence[Case]) -> list[Finding]:
        from consort.cooperate.detect.white.divergence import divergences

        contexts, answers = [context_of(case) for case in cases], [case.answer for case in cases]
        reads, values, cost = divergences(self.models, contexts, answers)
        most, found = math.log(len(self.models)), []
        for case, read, row in zip(cases, reads, values, strict=True):
            raw = self._joined(row or [0.0])
            found.append(by_sentence(case, read, [clipped(v / most) for v in row], clipped(raw / most), raw))
        return with_costs(found, cost)

    def _apart(self, cases: Sequence[Case]) -> list[Finding]:
        contexts, answers = [context_of(case) for case in cases], [case.answer for case in cases]
        rows: list[list[float]] = [[] for _ in cases]
        cost: dict[str, Usage] = {}
        for model in self.models:
            reads, more = read_answers(model, contexts, answers)
            cost = add_cost(cost, more)
            for row, read, answer in zip(rows, reads, answers, strict=True):
                row.append(math.fsum(read.logprobs) / len(answer))
        raws = [_deviation(row) for row in rows]
        return with_costs([Finding(-math.expm1(-raw), raw) for raw in raws], cost)

    def _joined(self, values: Sequence[float]) -> float:
        return max(values) if self.of == "max" else math.fsum(values) / len(values)


def _opposed(row: Sequence[float]) -> float:
    """min(for, against) over half of all that members gave: 0 where all pull one way, 1 where halves cancel."""
    pro, con = math.fsum(x for x in row if x > 0), -math.fsum(x for x in row if x < 0)
    return 2 * min(pro, con) / (pro + con) if pro + con > 0 else 0.0


def _deviation(row: Sequence[float]) -> float:
    mean = math.fsum(row) / len(row)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in row) / len(row))
