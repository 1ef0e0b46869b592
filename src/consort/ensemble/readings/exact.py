"""The stripped text."""

from __future__ import annotations

from consort.ensemble.readings import reading


@reading()
class Exact:
    """The stripped text; an empty one is no answer."""

    def __call__(self, text: str) -> str | None:
        return text.strip() or None
