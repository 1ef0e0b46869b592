"""Contains: a target stands somewhere in the answer."""

from __future__ import annotations

from consort.core.errors import BadData
from consort.core.types import Example
from consort.evaluate.registry import metric


@metric(needs="generate", unit=True)
def contains(answer: str, example: Example, *, last_words: int = 0) -> float:
    """1 if a stripped target is a substring of the answer, else 0; case counts. An empty target is BadData.

    With `last_words` only so many words at the end of the answer are looked at.
    """
    targets = [target.strip() for target in example.target]
    if not all(targets):
        raise BadData("an empty target is in every answer", field=f"line {example.line}: target", hint="give some text")
    read = " ".join(answer.split()[-last_words:]) if last_words else answer
    return float(any(target in read for target in targets))
