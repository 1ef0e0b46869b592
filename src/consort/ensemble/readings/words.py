"""The words of a text, as `token_f1` grades it."""

from __future__ import annotations

from consort.ensemble.readings import reading
from consort.evaluate.metrics.token_f1 import normalised_words


@reading()
class Words:
    """The text without case, punctuation and articles, as `token_f1` grades it."""

    def __call__(self, text: str) -> str | None:
        return " ".join(normalised_words(text)) or None
