"""Effective reliability: right answers less wrong ones, where a model may also name no option (Model Swarms)."""

from __future__ import annotations

from consort.core.types import Example
from consort.evaluate.metrics.multiple_choice import LETTERS, NO_OPTION, option_of, options_of
from consort.evaluate.registry import metric


@metric(needs=("choices", "answer"), span=(-1.0, 1.0))
def abstain(answer: str, example: Example) -> float:
    """1 for the right option, -1 for a wrong one, 0 for none; options are read as in `multiple_choice`."""
    named = option_of(answer, options_of(example))
    if named == NO_OPTION:
        return 0.0
    return 1.0 if named == LETTERS[example.answer or 0] else -1.0
