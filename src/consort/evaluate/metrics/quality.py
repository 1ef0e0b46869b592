"""The quality that a cached answer is told to have (models/cached/model.py)."""

from __future__ import annotations

from consort.core.errors import BadData
from consort.core.types import Completion, Example
from consort.evaluate.registry import metric


@metric(
    asks="completion",
    cases=({"right": {"text": "4", "details": {"quality": 0.9}}, "wrong": {"text": "5", "details": {"quality": 0.1}}},),
)
def quality(completion: Completion, example: Example) -> float:
    """The answer's `quality`, a number in [0, 1] that a table of cached answers has for it."""
    found = completion.details.get("quality")
    if not isinstance(found, int | float):
        hint = "a table needs a `scores` column; prompts alone are for a search with `utility:`"
        raise BadData("the answer's quality is not known", field=f"line {example.line}", hint=hint)
    return float(found)
