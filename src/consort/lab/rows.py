"""Rows of text made into batches of tokens, and the loss on their answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.lab.operations import Row
from consort.lab.tokenizers import encode_rows
from consort.train.losses import IGNORE, sft

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Batch = tuple[Int[Tensor, "row token"], Int[Tensor, "row token"]]
"""Token ids and labels, padded on the right."""


def collate(tokenizer: Tokenizer, rows: Sequence[Row], *, answer_only: bool = True) -> Batch:
    """The batch of `rows`; labels are the answer's tokens (or every token's), padding is 0 and never a label."""
    pairs = encode_rows(tokenizer, [(row.prompt, row.target) for row in rows])
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    labels = torch.full((len(pairs), width), IGNORE)
    for i, (prompt, answer) in enumerate(pairs):
        start, end = len(prompt), len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        first = start if answer_only else 0
        labels[i, first:end] = ids[i, first:end]
    return ids, labels


def drawer(
    tokenizer: Tokenizer, stream: Callable[[random.Random], Row], size: int, *, answer_only: bool = True
) -> Callable[[random.Random], Batch]:
    """A function that draws `size` rows of `stream` and collates them."""
    return lambda rng: collate(tokenizer, [stream(rng) for _ in range(size)], answer_only=answer_only)


def answer_loss(model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """The model's cross entropy on the labels; no attention mask, since padding comes after everything that counts."""
    ids, labels = batch
    return sft(model(input_ids=ids).logits, labels)
