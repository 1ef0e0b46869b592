"""Exact match: the answer is one of the targets, white space at both ends aside."""

from __future__ import annotations

from consort.core.types import Example
from consort.evaluate.registry import metric


@metric(needs="generate", unit=True)
def exact_match(answer: str, example: Example) -> float:
    """1 if the stripped answer equals a stripped target, else 0; case counts."""
    return float(answer.strip() in {target.strip() for target in example.target})
