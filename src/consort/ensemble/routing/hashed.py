"""Hashed character n-grams of words, many words at once.

Columns are those of scikit-learn's `HashingVectorizer(analyzer="char_wb")`: the absolute value of MurmurHash3 (32 bit,
seed 0) of the n-gram's UTF-8, modulo the number of columns, so that states fitted by either are read by both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

Bytes = np.ndarray
"""uint8 [text, byte]."""


def word_grams(words: Sequence[str], low: int, high: int, columns: int) -> Any:
    """How often each hashed n-gram of `low` to `high` letters occurs in each word with a space at both ends.

    CSR, float32 [word, column]. Of a word shorter than n the n-gram is the whole word, counted once for all such n.
    """
    from scipy.sparse import csr_matrix

    text = "".join(f" {word} " for word in words)
    lengths = np.fromiter((len(word) + 2 for word in words), np.int64, len(words))
    starts = np.cumsum(lengths) - lengths
    encoded = np.frombuffer(text.encode(), np.uint8)
    edges = np.append(np.flatnonzero((encoded & 0xC0) != 0x80), len(encoded))  # of letters, in bytes
    owners, places = [], []
    for word, first, last in _spans(lengths, starts, low, high):
        owners.append(word)
        places.append(_hashed(encoded, edges[first], edges[last]) % columns)
    rows, found = np.concatenate(owners), np.concatenate(places)
    counts = csr_matrix((np.ones(len(rows), np.float32), (rows, found)), shape=(len(words), columns))
    counts.sum_duplicates()
    return counts


def _spans(lengths: Int[np.ndarray, " word"], starts: Int[np.ndarray, " word"], low: int, high: int) -> Any:
    """Of each n: the word of each n-gram, and its first letter and the one behind its last."""
    pending = np.arange(len(lengths))
    for n in range(low, high + 1):
        count = np.maximum(lengths[pending] - n + 1, 1)
        word = np.repeat(pending, count)
        step = np.arange(len(word)) - np.repeat(np.cumsum(count) - count, count)
        first = starts[word] + step
        yield word, first, first + np.minimum(n, lengths[word])
        pending = pending[lengths[pending] > n]


def _hashed(encoded: Bytes, first: np.ndarray, last: np.ndarray) -> Int[np.ndarray, " span"]:
    """The absolute value of the signed hash of each span of bytes."""
    found = np.zeros(len(first), np.int64)
    for length in np.unique(last - first):
        those = np.flatnonzero(last - first == length)
        spans = encoded[first[those][:, None] + np.arange(length)]
        found[those] = np.abs(_murmur(spans).view(np.int32).astype(np.int64))
    return found


def _murmur(texts: Bytes) -> np.ndarray:
    """MurmurHash3_x86_32 (Appleby 2011, public domain) with seed 0 of texts of one length, uint32 [text]."""
    count, length = texts.shape
    found = np.zeros(count, np.uint32)
    whole = length // 4 * 4
    blocks = np.ascontiguousarray(texts[:, :whole]).view("<u4")
    for i in range(blocks.shape[1]):
        found ^= _mixed(blocks[:, i])
        found = _turned(found, 13) * np.uint32(5) + np.uint32(0xE6546B64)
    if length > whole:
        rest = np.zeros((count, 4), np.uint8)
        rest[:, : length - whole] = texts[:, whole:]
        found ^= _mixed(rest.view("<u4")[:, 0])
    found ^= np.uint32(length)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        found = (found ^ (found >> np.uint32(shift))) * np.uint32(factor)
    return found ^ (found >> np.uint32(16))


def _mixed(block: np.ndarray) -> np.ndarray:
    return _turned(block * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)


def _turned(values: np.ndarray, bits: int) -> np.ndarray:
    return (values << np.uint32(bits)) | (values >> np.uint32(32 - bits))
