"""A detector as a metric: 1 less the doubt of an answer."""

from __future__ import annotations

from typing import Any, Literal

from consort.core.errors import BadData
from consort.core.kinds import made
from consort.core.types import Completion, Example
from consort.evaluate.registry import metric
from consort.models.detecting import Case, Detector
from consort.models.tokens.chats import plain_chat

_MADE: dict[str, Any] = {}
"""What task files name, made."""


@metric(
    asks="completion",
    unit=True,
    example={"detector": "ngram_precision"},
    cases=(
        {
            "prompt": "the cat sat on the mat",
            "right": {"text": "the cat sat on the mat"},
            "wrong": {"text": "dogs bark at night"},
        },
    ),
)
def detector(
    completion: Completion,
    example: Example,
    *,
    detector: Detector,
    against: Literal["prompt", "target", "evidence"] = "prompt",
) -> float:
    """1 - doubt in [0, 1] of an answer whose source is the prompt, the target, or the evidence that its model told of.

    An empty answer counts 0. Raises BadData where a detector can say nothing: it lacks what it needs.
    """
    if not completion.text.strip():
        return 0.0
    asked = example.prompt if example.prompt is not None else plain_chat(list(example.messages or ()))
    told = "\n\n".join(str(one.get("text", "")) for one in completion.details.get("evidence", ()))
    source = {"prompt": asked, "target": "\n".join(example.target), "evidence": told}[against]
    logprobs = completion.details.get("logprobs")
    case = Case(
        completion.text,
        asked,
        source,
        logprobs=None if logprobs is None else tuple(logprobs),
        details=completion.details,
    )
    [finding] = _opened(detector).detect([case])
    if finding.doubt is None:
        why = "; ".join(finding.notes) or "nothing can be said"
        raise BadData(why, field=f"line {example.line}", hint="take a detector that works from answer and source")
    return float(1 - finding.doubt)


def _opened(given: Any) -> Any:
    """The detector; one that a task file names is made once."""
    if not isinstance(given, str | dict):
        return given
    key = repr(given)
    if key not in _MADE:
        _MADE[key] = made("detector", given, "detector")
    return _MADE[key]
