"""Log-probabilities of an answer's tokens: what the case knows, or what a model says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consort.cooperate.detect.base import with_costs
from consort.cooperate.detect.white.reading import by_sentence, read_answers
from consort.models.detecting import Case, Finding

Rule = Callable[[Sequence[float]], tuple[float, float]]
"""Doubt and raw quantity of the log-probabilities of one answer's tokens."""


def from_logprobs(model: Any, cases: Sequence[Case], rule: Rule, token: Callable[[float], float]) -> list[Finding]:
    """The rule over each case's log-probabilities; with `model` it reads all answers after their prompts.

    `token` is the doubt of one token, from which sentences get theirs where a model has read them.
    """
    if model is None:
        return [Finding(*rule(case.logprobs or (0.0,))) for case in cases]
    reads, cost = read_answers(model, [context_of(case) for case in cases], [case.answer for case in cases])
    found = []
    for case, read in zip(cases, reads, strict=True):
        found.append(by_sentence(case, read, [token(x) for x in read.logprobs], *rule(read.logprobs or (0.0,))))
    return with_costs(found, cost)


def context_of(case: Case, *, source: bool = True) -> str:
    """What stands before an answer: its source, if it has one, and its prompt, with a space to the answer."""
    parts = [part for part in ((case.source if source else ""), case.prompt) if part]
    return "\n\n".join(parts) + (" " if parts else "")
