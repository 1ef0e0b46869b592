"""Tokens of a classifier to words, without a loop over either: segment reductions over the tokenizer's own word ids."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Merge = Literal["mean", "first", "max"]


def merge_words(
    values: Float[Tensor, " token"], word: Int[Tensor, " token"], words: int, how: Merge = "mean"
) -> Float[Tensor, " word"]:
    """One value for each word; tokens whose word is -1 (special ones) belong to none. A word without tokens is 0."""
    if how == "mean":
        # bincount with weights is the fastest segment sum there is; one place more takes what belongs to no word
        ids, weights = word.numpy() + 1, values.numpy()
        sums, counts = np.bincount(ids, weights, words + 1)[1:], np.bincount(ids, minlength=words + 1)[1:]
        return torch.from_numpy(sums / np.maximum(counts, 1))
    own = word >= 0
    values, word = values[own].double(), word[own]
    found = torch.zeros(words, dtype=torch.float64)
    if not len(values):
        return found
    if how == "max":
        return found.scatter_reduce_(0, word, values, "amax", include_self=False)
    back = torch.arange(len(word) - 1, -1, -1)  # of several writes to one place the last one stays
    first = torch.zeros(words, dtype=torch.long).scatter_reduce_(0, word[back], back, "amin", include_self=False)
    held = torch.zeros(words, dtype=torch.bool).index_fill_(0, word, True)
    return torch.where(held, values[first], found)


def word_sizes(word: Int[Tensor, " token"], words: int) -> Int[np.ndarray, " word"]:
    """How many tokens each word has."""
    sizes: np.ndarray = np.bincount(word[word >= 0].numpy(), minlength=words)
    return sizes
