"""What a regular expression finds."""

from __future__ import annotations

import re

from consort.core.errors import BadParameter
from consort.ensemble.readings import reading


@reading(example={"regex": "#### (.*)"})
class Pattern:
    r"""What the last match of a regular expression has in its first group (without a group: all of the match).

    For answers in a form of their own: `{pattern: {regex: '#### (.*)'}}`.
    """

    def __init__(self, regex: str) -> None:
        self.regex = regex
        try:
            self._compiled = re.compile(regex)
        except re.error as fault:
            raise BadParameter(f"is no regular expression: {fault}", field="regex", hint="e.g. '#### (.*)'") from None

    def __call__(self, text: str) -> str | None:
        found = [m.group(1 if self._compiled.groups else 0) for m in self._compiled.finditer(text)]
        return (found[-1] or "").strip() or None if found else None
