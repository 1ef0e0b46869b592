"""Texts cut into sentences, and sentences packed into passages of about so many words; every piece keeps its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_END = re.compile(r"""(?:[.!?…]+["'”’»)\]]*(?=\s)|[。！？]+[」』”’）]*|\n\s*\n)""")
_ABBREVIATED = re.compile(r"(?:^|[\s(\"'“])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|cf|e\.g|i\.e|No|Fig|Eq|Vol|pp?)\.$")
_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]{1,2}|\\S+?(?=[\\s\u3040-\u9fff]|$)"
)
Span = tuple[int, int]


def sentences(text: str) -> list[Span]:
    """Where each sentence begins and ends, white space at both ends aside.

    >>> [ "Dr. Who came. He left!"[a:b] for a, b in sentences("Dr. Who came. He left!") ]
    ['Dr. Who came.', 'He left!']
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if end[0].startswith(".") and _ABBREVIATED.search(text[max(start, end.end() - 8) : end.end()]):
            continue
        found.append(_stripped(text, start, end.end()))
        start = end.end()
    found.append(_stripped(text, start, len(text)))
    return [span for span in found if span[0] < span[1]]


def _stripped(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def words_in(text: str) -> int:
    """Words, as people count them; two letters of a script without spaces are one."""
    return len(text.split()) if text.isascii() else sum(1 for _ in _WORD.finditer(text))


def packed(text: str, words: int = 200, overlap: int = 1) -> list[Span]:
    """Passages of whole sentences, at most `words` words each, the last `overlap` sentences of one beginning the next.

    A sentence of more words is cut; `words` 0 leaves the text whole.
    """
    if not words:
        whole = _stripped(text, 0, len(text))
        return [whole] if whole[0] < whole[1] else []
    pieces = [piece for span in sentences(text) for piece in _cut(text, span, words)]
    sizes = [words_in(text[a:b]) for a, b in pieces]
    return list(_passages(pieces, sizes, words, overlap))


def _passages(pieces: Sequence[Span], sizes: Sequence[int], words: int, overlap: int) -> Iterator[Span]:
    first = 0
    while first < len(pieces):
        end, total = first, 0
        while end < len(pieces) and (end == first or total + sizes[end] <= words):
            total += sizes[end]
            end += 1
        yield pieces[first][0], pieces[end - 1][1]
        if end == len(pieces):
            return
        again = end
        while again > max(first + 1, end - overlap) and sum(sizes[again - 1 : end + 1]) <= words:
            again -= 1
        first = again


def _cut(text: str, span: Span, words: int) -> list[Span]:
    """A sentence in pieces of at most `words` words."""
    if words_in(text[slice(*span)]) <= words:
        return [span]
    starts = [
        span[0] + m.start() for m in (_WORD if not text.isascii() else re.compile(r"\S+")).finditer(text[slice(*span)])
    ]
    firsts = starts[::words]
    return [_stripped(text, a, b) for a, b in zip(firsts, [*firsts[1:], span[1]], strict=True)]
