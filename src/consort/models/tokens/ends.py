"""Where the tokens of a text end, in bytes; positions of two tokenizers that have read exactly the same text.

A byte offset holds the character offset as a special case and is safe inside characters of several bytes. No class of
tokenizer is named: ends come from the bytes of the tokens, and from the tokenizer's own offsets where its tokens do
not spell the text (normalised or unknown characters, special tokens written out).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consort.core.errors import Unsupported
from consort.models.base import Tokenizer
from consort.models.tokens.align import Pieces
from consort.models.tokens.pieces import token_bytes

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spelled:
    """A text as tokens: `ids`, and for each the number of bytes of the text that have been read at its end.

    What stands before the text (bos) ends at 0; the end token counts as one byte after the text.
    """

    ids: Ids
    ends: Ids

    def __len__(self) -> int:
        return len(self.ids)


def spell(tokenizer: Tokenizer, text: str, *, end: bool = False) -> Spelled:
    """The tokens that `tokenizer` makes of `text`, with what it puts before a text; with `end`, then its eos.

    Raises Unsupported for a tokenizer whose tokens do not spell the text and that gives no offsets either.
    """
    head, tokens, offsets = _encoded(tokenizer, text)
    data = text.encode()
    ends = [*(0 for _ in head), *_walk(token_bytes(tokenizer), tokens, data, offsets)]
    ids = [*head, *tokens]
    if end and tokenizer.eos is not None:
        ids.append(tokenizer.eos)
        ends.append(len(data) + 1)
    return Spelled(np.array(ids, np.int64), np.array(ends, np.int64))


def _encoded(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int], Callable[[int], int] | None]:
    """What stands before the text, its tokens, and the end of a token by the tokenizer's own account."""
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if not getattr(inner, "is_fast", False):
        return [], tokenizer.encode(text), None
    given = inner(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    tokens, spans = list(given["input_ids"]), given["offset_mapping"]
    whole = tokenizer.encode(text)
    table: list[int] = []  # bytes before each character

    def ends_at(position: int) -> int:
        if not table:
            table.extend([0, *np.cumsum([len(character.encode()) for character in text]).tolist()])
        return table[int(spans[position][1])]

    return whole[: len(whole) - len(tokens)], tokens, ends_at


def _walk(pieces: Pieces, tokens: Sequence[int], data: bytes, ends_at: Callable[[int], int] | None) -> list[int]:
    """The end of each token: as far as its bytes reach where all of them join to the text, else by the tokenizer.

    A space before the text that the tokenizer has put there counts for nothing.
    """
    known = [(pieces[token] if token < len(pieces) else None) or b"" for token in tokens]
    whole = b"".join(known)
    for lead in (0, 1):
        if whole[lead:] == data and whole[:lead] in (b"", b" "):
            return [max(0, int(end) - lead) for end in np.cumsum([len(piece) for piece in known])]
    if ends_at is None and any(token >= len(pieces) or pieces[token] is not None for token in tokens):
        what = "its tokens do not spell the text, and it tells no offsets"
        raise Unsupported(what, field="tokenizer", hint="use the model's fast tokenizer (tokenizer.json)")
    at, found = 0, []
    for position, piece in enumerate(known):
        told = at if ends_at is None else max(at, ends_at(position))
        spelt = at + len(piece)
        inside = bool(piece) and data.startswith(piece, at)
        # several tokens of one character all end after it, and a token of spaces may be told without them
        at = spelt if inside and (spelt < told < spelt + 4 or data[told:spelt].isspace()) else told
        found.append(at)
    return found


def same_end(pivot: Ids, source: Ids) -> Ids:
    """For each token of the pivot the token of the source that ends where it ends, -1 if there is none.

    Both are ends in bytes, never falling. Of several tokens with one end, on either side, the last counts: only its
    row is a prediction of what follows. O(m + n).
    """
    if not len(source) or not len(pivot):
        return np.full(len(pivot), -1)
    at = np.searchsorted(source, pivot, side="right") - 1
    found = np.where((at >= 0) & (source[np.maximum(at, 0)] == pivot), at, -1)
    found[:-1][pivot[:-1] == pivot[1:]] = -1
    return found
