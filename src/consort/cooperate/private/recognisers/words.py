"""Words and names that the user says are private."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import HIDDEN, Span
from consort.core.errors import BadParameter

SEPARATOR = r"[\s._'`\u00b4\u00b7\u02b9-\u02bd\u2010-\u2015\u2018\u2019\u201b\u2032-]"
GAP = SEPARATOR + "{0,3}"
"""What may stand between the characters of a word and change nothing."""


@recogniser(paper="the user's own list")
class Words:
    """The `words` in any case, with spaces, dots, dashes or apostrophes between their characters or without them.

    `kind` is what their placeholders are called. Words of one or two characters are found as whole words alone.
    """

    def __init__(self, words: Sequence[str], *, kind: str = "NAME") -> None:
        """Raises BadParameter for an empty word, or a kind that no placeholder can have."""
        self.words, self.kind = tuple(words), kind
        if not re.fullmatch(r"[A-Z][A-Z0-9]*", kind):
            raise BadParameter(f"{kind!r} is no kind", field="kind", hint="capital letters and digits, such as NAME")
        patterns = [_pattern(word) for word in sorted(self.words, key=len, reverse=True)]
        self.pattern = re.compile("|".join(patterns) or r"(?!)", re.IGNORECASE)

    def find(self, text: str) -> Iterator[Span]:
        for match in self.pattern.finditer(text):
            yield Span(match.start(), match.end(), self.kind, 100)


def _pattern(word: str) -> str:
    seen = unicodedata.normalize("NFKC", HIDDEN.sub("", word))
    letters = [letter for letter in seen if not re.fullmatch(SEPARATOR, letter)]
    if not letters:
        raise BadParameter(f"{word!r} says nothing", field="words", hint="leave it out")
    if len(letters) <= 2:
        return rf"(?<!\w){re.escape(''.join(letters))}(?!\w)"
    return GAP.join(map(re.escape, letters))
