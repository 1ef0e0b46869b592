"""Which words stand in which passages, and BM25 (Robertson and Zaragoza 2009) over that.

For each word the passages that have it and how often, all in arrays that can be mapped: nothing but the postings of a
query's own words is read, and `k1` and `b` may be chosen at query time. The weight of a word is Lucene's,
ln(1 + (N - n + .5) / (n + .5)), which is never negative.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from consort.knowledge.passages import Texts, damaged, mapped_array, mapped_bytes

FILES = ("words.txt", "words.npy", "postings.npy", "counts.npy", "lengths.npy")


@dataclass(slots=True)
class Postings:
    """`words` in the order of their bytes; the postings of word w are `places` and `counts` [ends[w] : ends[w + 1]].

    `places` are passages in ascending order, `counts` how often each has the word, `lengths` the words of each passage.
    """

    words: Texts
    ends: Int[np.ndarray, " word_1"]
    places: Int[np.ndarray, " posting"]
    counts: Int[np.ndarray, " posting"]
    lengths: Int[np.ndarray, " passage"]

    def find(self, word: str) -> int | None:
        """The number of a word, None where no passage has it; by halving, so that the words need not be read."""
        wanted, low, high = word.encode(), 0, len(self.words)
        data, ends = self.words.data, self.words.ends
        while low < high:
            middle = (low + high) // 2
            here = bytes(data[int(ends[middle]) : int(ends[middle + 1])])
            if here < wanted:
                low = middle + 1
            elif here > wanted:
                high = middle
            else:
                return middle
        return None

    def of(self, word: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """The passages that have a word, and how often each has it."""
        start, end = int(self.ends[word]), int(self.ends[word + 1])
        return np.asarray(self.places[start:end]), np.asarray(self.counts[start:end])

    def rarity(self, word: int) -> float:
        """ln(1 + (N - n + .5) / (n + .5)) of a word that n of N passages have."""
        often = int(self.ends[word + 1] - self.ends[word])
        return math.log(1 + (len(self.lengths) - often + 0.5) / (often + 0.5))

    @property
    def mean_length(self) -> float:
        """Words of a passage, on average."""
        return int(np.asarray(self.lengths).sum(dtype=np.int64)) / max(1, len(self.lengths))

    def bm25(self, query: Mapping[str, float], k1: float, b: float) -> Float[np.ndarray, " passage"]:
        """Scores of all passages; `query` has the weight of each word, for a plain query how often it occurs.

        Words are added in the order of their bytes, so that a query's own order decides nothing, not even a rounding.
        """
        scores = np.zeros(len(self.lengths))
        mean = self.mean_length
        for text in sorted(query):
            word = self.find(text)
            if word is None:
                continue
            places, counts = self.of(word)
            norm = k1 * (1 - b + b * self.lengths[places] / mean)
            scores[places] += query[text] * self.rarity(word) * (counts / (counts + norm))
        return scores

    def save(self, folder: Path) -> None:
        self.save_words(folder)
        np.save(folder / "postings.npy", self.places)
        np.save(folder / "counts.npy", self.counts)

    def save_words(self, folder: Path) -> None:
        """All but the postings themselves, where these lie in the folder already."""
        (folder / "words.txt").write_bytes(bytes(self.words.data))
        np.save(folder / "words.npy", np.stack([self.words.ends, self.ends], 1))
        np.save(folder / "lengths.npy", self.lengths)

    @classmethod
    def open(cls, folder: Path) -> Postings:
        """The postings of a folder, mapped. Raises BadData where files are missing or do not fit together."""
        table, places, counts, lengths = (mapped_array(folder / name) for name in FILES[1:])
        words = mapped_bytes(folder / "words.txt")
        if table.ndim != 2 or table.shape[1] != 2 or int(table[-1, 0]) != len(words):
            raise damaged(folder / "words.npy")
        if not int(table[-1, 1]) == len(places) == len(counts) or (np.diff(table, axis=0) < 0).any():
            raise damaged(folder / "postings.npy")
        return cls(Texts(words, table[:, 0]), table[:, 1], places, counts, lengths)


@dataclass(slots=True)
class Counted:
    """The postings of a block of passages: words by number of `Collector`, passages from 0."""

    words: Int[np.ndarray, " n"]
    places: Int[np.ndarray, " n"]
    counts: Int[np.ndarray, " n"]
    lengths: Int[np.ndarray, " passage"]


class Vocabulary(dict[str, int]):
    """Words to numbers, in order of first appearance."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def counted(texts: Iterable[Sequence[str]], vocabulary: Vocabulary) -> Counted:
    """How often each word occurs in each text; new words are entered in the vocabulary."""
    rows = [list(map(vocabulary.__getitem__, words)) for words in texts]
    lengths = np.array([len(row) for row in rows], np.int32)
    flat = np.fromiter((n for row in rows for n in row), np.int64, int(lengths.sum()))
    keys, counts = np.unique(flat << 32 | np.repeat(np.arange(len(rows)), lengths), return_counts=True)
    return Counted(keys >> 32, keys & 0xFFFFFFFF, counts.astype(np.int32), lengths)


def merged(blocks: Sequence[Counted], vocabulary: Vocabulary) -> Postings:
    """The postings of all blocks, words in the order of their bytes."""
    names = sorted((word.encode(), number) for word, number in vocabulary.items())
    place_of = np.empty(len(names), np.int64)
    place_of[[number for _, number in names]] = np.arange(len(names))
    often = np.zeros(len(names) + 1, np.int64)
    for block in blocks:
        np.add.at(often, place_of[block.words] + 1, 1)
    ends = np.cumsum(often)
    places, counts = np.empty(int(ends[-1]), np.int32), np.empty(int(ends[-1]), np.int32)
    fill(blocks, place_of, ends[:-1].copy(), places, counts)
    words = Texts.of(name.decode() for name, _ in names)
    lengths = np.concatenate([np.zeros(0, np.int32), *(block.lengths for block in blocks)])
    return Postings(words, ends, places, counts, lengths)


def fill(
    blocks: Iterable[Counted],
    place_of: Int[np.ndarray, " word"],
    cursor: Int[np.ndarray, " word"],
    places: Int[np.ndarray, " posting"],
    counts: Int[np.ndarray, " posting"],
    before: int = 0,
) -> None:
    """Enter the postings of blocks, in order, behind `before` passages; `cursor`: where each word's next one goes."""
    for block in blocks:
        word = place_of[block.words]
        order = np.argsort(word, kind="stable")
        word = word[order]
        first = np.flatnonzero(np.diff(word, prepend=-1))
        run = np.diff(np.append(first, len(word)))
        at = cursor[word] + np.arange(len(word)) - np.repeat(first, run)
        places[at], counts[at] = block.places[order] + before, block.counts[order]
        cursor[word[first]] += run
        before += len(block.lengths)


def weights_of(words: Sequence[str]) -> dict[str, float]:
    """The words of a query, each weighing as often as it occurs."""
    return {word: float(n) for word, n in Counter(words).items()}
