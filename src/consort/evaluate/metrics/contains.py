"""Contains: a target stands somewhere in the answer."""

from __future__ import annotations

from consort.core.errors import BadData
from consort.core.types import Example
from consort.evaluate.registry import metric


@metric(needs="generate")
def contains(answer: str, example: Example) -> float:
    """1 if a stripped target is a substring of the answer, else 0; case counts. An empty target is BadData."""
    targets = [target.strip() for target in example.target]
    if not all(targets):
        raise BadData("an empty target is in every answer", field=f"line {example.line}: target", hint="give some text")
    return float(any(target in answer for target in targets))
