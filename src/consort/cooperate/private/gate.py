"""The leak gate: the last look at what is about to leave. It fails closed: a hit, or a fault in it, sends nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from rapidfuzz import fuzz

from consort.cooperate.private.spans import HIDDEN, digits
from consort.core.binding import bound
from consort.core.params import Range

SHORTEST_DIGITS = 7
"""Digits of a value that are looked for without what stands between them."""
SHORTEST_BARE = 4
"""Letters and digits of a value that are looked for without what stands between them; shorter ones as words."""

Similarity = Callable[[str, str], float]
"""How alike two texts are, 1 for equal ones."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Looks for values in a text: as they are, without case, spaces and signs, their digits alone, and nearly so.

    `fuzzy`: the least similarity of a stretch of the text to a value of at least `shortest` characters. With
    `similarity` (embeddings, say) no value may be as near to a line of the text as `near`.
    """

    fuzzy: Annotated[float, Range(0, 1)] = 0.85
    shortest: Annotated[int, Range(1, 1000)] = 5
    near: Annotated[float, Range(0, 1)] = 0.9
    similarity: Similarity | None = None

    def leaks(self, text: str, values: Sequence[str]) -> list[int]:
        """The places in `values` of those that can be read in the text; marks of ours do not count."""
        from consort.cooperate.private.placeholders import MARKS

        shown = MARKS.sub("\n", text)
        seen = _folded(shown)
        bare, numbers = _bare(seen), digits(shown)
        return [place for place, value in enumerate(values) if self._leaks(value, shown, seen, bare, numbers)]

    def _leaks(self, value: str, shown: str, seen: str, bare: str, numbers: str) -> bool:
        folded = _folded(value)
        own = _bare(folded)
        if not own:
            return bool(value.strip()) and value in shown
        if len(own) < SHORTEST_BARE:
            return re.search(rf"(?<!\w){re.escape(folded.strip())}(?!\w)", seen) is not None
        if own in bare:
            return True
        own_digits = digits(value)
        if len(own_digits) >= SHORTEST_DIGITS and len(own_digits) * 2 >= len(own) and own_digits in numbers:
            return True
        if len(folded) >= self.shortest and self._is_near(folded, seen):
            return True
        if self.similarity is None:
            return False
        return any(self.similarity(value, line) >= self.near for line in shown.splitlines() if line.strip())

    def _is_near(self, value: str, text: str) -> bool:
        """Whether some stretch of the text, of the value's length, is as similar to it as `fuzzy`."""
        if len(text) < len(value):
            return fuzz.ratio(value, text) >= 100 * self.fuzzy
        best = fuzz.partial_ratio_alignment(value, text, score_cutoff=100 * self.fuzzy)
        if best is None:
            return False
        start = min(best.dest_start, len(text) - len(value))
        return fuzz.ratio(value, text[start : start + len(value)]) >= 100 * self.fuzzy


bound(Gate, "gate")


def _folded(text: str) -> str:
    """NFKC, no case, nothing unseen."""
    return unicodedata.normalize("NFKC", HIDDEN.sub("", text)).casefold()


def _bare(text: str) -> str:
    """Letters and digits alone."""
    return re.sub(r"[\W_]", "", text)
