"""Edit distances of byte strings, many at once (Myers 1999, 64 bits a word), and the nearest token of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORD = 64
"""Bytes of the longest string that one machine word can track."""
_LETTERS, _PAIRS, _REPEATS = 128, 256, 5
_CELLS = 1 << 21
_END = 256

Counts = NDArray[np.int64]


def distances(ones: Sequence[bytes], others: Sequence[bytes]) -> Counts:
    """Levenshtein distance of each of `ones` to each of `others`, as a matrix."""
    table = Table(others)
    found = np.zeros((len(ones), len(others)), np.int64)
    step = max(1, _CELLS // max(len(others), 1))
    for at in range(0, len(ones), step):
        found[at : at + step] = table.distances(ones[at : at + step])
    return found


class Table:
    """Byte strings laid out by columns, the longest first, so that those a column still reaches are a prefix."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        lengths = np.array([len(text) for text in texts], np.int64)
        self.order = np.argsort(-lengths, kind="stable")
        self.lengths = lengths[self.order]
        self.codes = np.full((len(texts), int(lengths.max(initial=0))), _END, np.int16)
        for row, number in enumerate(self.order.tolist()):
            self.codes[row, : len(texts[number])] = list(texts[number])

    def distances(self, patterns: Sequence[bytes], rows: Counts | None = None) -> Counts:
        """Of each pattern to each string, in the order given; with `rows` to those rows of the table only."""
        codes, lengths = (self.codes, self.lengths) if rows is None else (self.codes[rows], self.lengths[rows])
        found = np.zeros((len(patterns), len(lengths)), np.int64)
        short = [i for i, pattern in enumerate(patterns) if 0 < len(pattern) <= WORD]
        if short:
            found[short] = _myers([patterns[i] for i in short], codes, lengths)
        for i, pattern in enumerate(patterns):
            if not pattern:
                found[i] = lengths
            elif len(pattern) > WORD:
                found[i] = _by_rows(pattern, codes, lengths)
        if rows is None:
            back = np.empty_like(found)
            back[:, self.order] = found
            return back
        return found


def _myers(patterns: Sequence[bytes], codes: NDArray[np.int16], lengths: Counts) -> Counts:
    """The bit-parallel recurrence, one word for each pair; a bit is a row of the usual table."""
    one = np.uint64(1)
    peq = np.zeros((len(patterns), _END + 1), np.uint64)
    for row, pattern in enumerate(patterns):
        for at, byte in enumerate(pattern):
            peq[row, byte] |= np.uint64(1 << at)
    sizes = np.array([len(pattern) for pattern in patterns], np.int64)
    last = (sizes - 1).astype(np.uint64)[:, None]
    score = np.repeat(sizes[:, None], len(lengths), 1)
    above = np.full(score.shape, ~np.uint64(0))  # vertical steps of +1
    below = np.zeros(score.shape, np.uint64)  # vertical steps of -1
    for column in range(int(lengths.max(initial=0))):
        live = int(np.searchsorted(-lengths, -column, side="left"))  # strings longer than `column`
        equal = peq[:, codes[:live, column]]
        up, down = above[:, :live], below[:, :live]
        diagonal = (((equal & up) + up) ^ up) | equal
        vertical = equal | down
        plus, minus = down | ~(diagonal | up), up & diagonal
        score[:, :live] += ((plus >> last) & one).astype(np.int64) - ((minus >> last) & one).astype(np.int64)
        plus, minus = (plus << one) | one, minus << one
        above[:, :live], below[:, :live] = minus | ~(vertical | plus), plus & vertical
    return score


def _by_rows(pattern: bytes, codes: NDArray[np.int16], lengths: Counts) -> Counts:
    """The usual table, row by row, for patterns of any length."""
    width = codes.shape[1]
    above = np.broadcast_to(np.arange(width + 1), (len(codes), width + 1)).T.copy()
    for n, byte in enumerate(pattern, 1):
        row = np.empty_like(above)
        row[0] = n
        for j in range(width):
            changed = above[j] + (codes[:, j] != byte)
            row[j + 1] = np.minimum(np.minimum(above[j + 1], row[j]) + 1, changed)
        above = row
    found: Counts = above[lengths, np.arange(len(codes))]
    return found


class Nearest:
    """For bytes the token of a vocabulary that the fewest insertions, deletions and changes of bytes lead to.

    Ties go to the lower token. Letters and pairs of letters that two strings share bound their distance from below, so
    only tokens whose bound is no worse than the best found are compared; the answer is exact. A token counts with its
    first `longest` bytes.
    """

    def __init__(self, pieces: Sequence[bytes | None], longest: int = 32) -> None:
        texts = [(i, piece[:longest]) for i, piece in enumerate(pieces) if piece]
        self.table = Table([piece for _, piece in texts])
        self.ids = np.array([i for i, _ in texts], np.int64)
        self._sorted_ids = self.ids[self.table.order] if texts else self.ids
        self._letters, self._pairs = _features([texts[row][1] for row in self.table.order.tolist()])
        self._known: dict[bytes, int] = {}

    def __call__(self, text: bytes) -> int:
        """The nearest token, -1 where the vocabulary has no text at all."""
        return self.many([text])[0]

    def many(self, texts: Sequence[bytes]) -> list[int]:
        """The nearest token of each text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        step = max(1, _CELLS // max(len(self.ids), 1))
        for at in range(0, len(new), step):
            part = new[at : at + step]
            for text, bounds in zip(part, self._bounds(part), strict=True):
                self._known[text] = self._search(text, bounds)
        return [self._known[text] for text in texts]

    def distances(self, text: bytes) -> Counts:
        """Levenshtein distance of `text` to every token that is a text, in the order of their ids."""
        found: Counts = self.table.distances([text])[0]
        return found

    def _bounds(self, texts: Sequence[bytes]) -> NDArray[np.float32]:
        letters, pairs = _features(texts)
        longer = np.maximum.outer([len(text) for text in texts], self.table.lengths).astype(np.float32)
        by_letters = longer - letters @ self._letters.T
        by_pairs = np.ceil((longer - 1 - pairs @ self._pairs.T) / 2)  # an edit destroys at most two pairs
        apart = np.abs(np.subtract.outer([len(text) for text in texts], self.table.lengths))
        return np.maximum(np.maximum(by_letters, by_pairs), apart)

    def _search(self, text: bytes, bounds: NDArray[np.float32]) -> int:
        if not len(bounds):
            return -1
        best, token, below = np.inf, -1, -1.0
        level = float(bounds.min())
        while below < best:
            rows = np.flatnonzero((bounds > below) & (bounds <= level))
            if len(rows):
                found = self.table.distances([text], rows)[0]
                near = int(found.min())
                candidate = int(self._sorted_ids[rows[found == near]].min())
                if (near, candidate) < (best, token) or token < 0:
                    best, token = near, candidate
            below, level = level, min(level + 1, float(best))
            if below >= best:
                break
        return token


def _features(texts: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How often each letter, and each pair, occurs, in hashed places: products are never less than what is shared."""
    letters = np.zeros((len(texts), _LETTERS), np.float32)
    pairs = np.zeros((len(texts), _PAIRS), np.float32)
    for row, text in enumerate(texts):
        seen: dict[int, int] = {}
        for byte in text:
            seen[byte] = turn = seen.get(byte, 0) + 1
            letters[row, (31 * byte + 7 * min(turn, _REPEATS)) % _LETTERS] += 1
        for one, two in zip(text, text[1:], strict=False):
            pairs[row, (97 * one + 31 * two) % _PAIRS] += 1
    return letters, pairs
