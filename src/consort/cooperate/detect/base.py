"""What detectors share: cases that cannot be judged are passed by and told, and sentences are put together."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from consort.cooperate.detect.sentences import Sentence, sentences
from consort.core.errors import BadData
from consort.core.types import Usage
from consort.models.detecting import Case, Doubted, Finding, Quote

Joining = Literal["mean", "max"]
EMPTY = "the answer is empty"
PLURAL = ("samples", "logprobs", "sample_logprobs")


class Judging(ABC):
    """A detector that sees only cases that have what it needs and an answer that is not empty.

    Of any other case the doubt is not known, and a note tells why. Raises BadData where no case has what is needed:
    then the file, not an answer, is at fault.
    """

    name: ClassVar[str]
    needs: tuple[str, ...] = ()

    @abstractmethod
    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        """A finding for each case."""

    def detect(self, cases: Sequence[Case]) -> list[Finding]:
        """A finding for each case, in order."""
        lacking = [self.lacks(case) for case in cases]
        if cases and all(lacking) and (missing := sorted({why for why in lacking if why and why != EMPTY})):
            hint = f"{self.name} works from {', '.join(self.needs)}: give every case that"
            raise BadData(f"no case can be judged: {'; '.join(missing)}", field=self.name, hint=hint)
        judged = iter(self.judge([case for case, why in zip(cases, lacking, strict=True) if not why]))
        return [Finding(None, notes=(why,)) if why else next(judged) for why in lacking]

    def lacks(self, case: Case) -> str:
        """Why a case cannot be judged; empty if it can."""
        if not case.answer.strip():
            return EMPTY
        missing = [need for need in self.needs if not case.has(need)]
        told = [f"no {need}" for need in missing]
        return f"there {'are' if missing[0] in PLURAL else 'is'} {' and '.join(told)}" if missing else ""


def bounded(x: float) -> float:
    """1 - e^-x: a number of 0 or more, laid into [0, 1] without changing any order."""
    return -math.expm1(-x) if x > 0 else 0.0


def clipped(x: float) -> float:
    """The nearest number of [0, 1]."""
    return min(1.0, max(0.0, float(x)))


def joined(doubts: Sequence[float], joining: Joining = "mean") -> float:
    """The doubt of an answer from those of its sentences."""
    return max(doubts) if joining == "max" else math.fsum(doubts) / len(doubts)


def parts_of(case: Case) -> list[Sentence]:
    """The sentences of an answer; an answer in which none is found is one."""
    return sentences(case.answer) or [Sentence(0, len(case.answer), case.answer)]


def of_sentences(
    parts: Sequence[Sentence],
    doubts: Sequence[float],
    joining: Joining = "mean",
    *,
    raw: float | None = None,
    evidence: Sequence[tuple[Quote, ...]] = (),
    **more: Any,
) -> Finding:
    """The finding that sentences and their doubts make."""
    quotes = evidence or [()] * len(parts)
    spans = tuple(
        Doubted(part.start, part.end, doubt, quote) for part, doubt, quote in zip(parts, doubts, quotes, strict=True)
    )
    return Finding(joined(doubts, joining), raw, spans, **more)


def shared_cost(findings: Sequence[Finding], name: str, usage: Usage) -> list[Finding]:
    """The findings, the first of which carries what one batch for all of them has cost."""
    return with_costs(findings, {name: usage} if usage != Usage() else {})


def with_costs(findings: Sequence[Finding], cost: Mapping[str, Usage]) -> list[Finding]:
    """The findings with a cost divided among them in equal parts; the first take what is left over."""
    if not findings or not cost:
        return list(findings)
    n = len(findings)
    shares = []
    for i in range(n):
        share = {}
        for name, usage in cost.items():
            prompt, completion, calls = (
                whole // n + (i < whole % n) for whole in (usage.prompt_tokens, usage.completion_tokens, usage.calls)
            )
            share[name] = Usage(prompt, completion, calls, usage.seconds / n)
        shares.append(share)
    return [replace(finding, cost=_added(finding.cost, share)) for finding, share in zip(findings, shares, strict=True)]


def _added(cost: Mapping[str, Usage], more: Mapping[str, Usage]) -> dict[str, Usage]:
    return {
        name: cost.get(name, Usage()) + more.get(name, Usage()) for name in (*cost, *(m for m in more if m not in cost))
    }
