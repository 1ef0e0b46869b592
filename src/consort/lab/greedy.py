"""Greedy answers of a small causal model to many short prompts, and how many of them are right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from consort.lab.operations import Row
from consort.models.hf.ragged_session import cache_argument

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

EOS_ID = 2


@torch.inference_mode()
def answers(
    model: PreTrainedModel, tokenizer: Tokenizer, prompts: Sequence[str], *, max_tokens: int = 16, batch: int = 256
) -> list[str]:
    """What the model writes after each prompt until its end token, at most `max_tokens`, always its likeliest token.

    Prompts of one length are read together, so that no padding enters the arithmetic.
    """
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(prompts))]
    lengths: dict[int, list[int]] = defaultdict(list)
    for i, ids in enumerate(encoded):
        lengths[len(ids)].append(i)
    texts = [""] * len(encoded)
    for members in lengths.values():
        for start in range(0, len(members), batch):
            rows = members[start : start + batch]
            for i, ids in zip(rows, _continue(model, [encoded[i] for i in rows], max_tokens), strict=True):
                texts[i] = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return texts


def _continue(model: PreTrainedModel, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
    written = torch.empty(len(prompts), 0, dtype=torch.long)
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    step, cache, name = (
        torch.tensor(prompts),
        None,
        cache_argument(getattr(model, "get_base_model", lambda: model)()) or "",
    )
    for done in range(max_tokens):
        mask = torch.ones(len(prompts), len(prompts[0]) + done, dtype=torch.long)
        output = model(input_ids=step, attention_mask=mask, use_cache=True, **{name: cache})
        cache, step = getattr(output, name), output.logits[:, -1].argmax(-1, keepdim=True)
        written = torch.cat([written, step], dim=1)
        ended |= step[:, 0] == EOS_ID
        if bool(ended.all()):
            break
    return [row[: row.index(EOS_ID)] if EOS_ID in row else row for row in written.tolist()]


def accuracy(model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Row], *, max_tokens: int = 16) -> float:
    """The fraction of rows answered exactly."""
    texts = answers(model, tokenizer, [row.prompt for row in rows], max_tokens=max_tokens)
    return sum(text == row.target for row, text in zip(rows, texts, strict=True)) / len(rows)


def accuracy_by_group(
    model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Row], *, max_tokens: int = 16
) -> dict[str, float]:
    """The fraction of each group's rows answered exactly."""
    right: dict[str, list[bool]] = defaultdict(list)
    texts = answers(model, tokenizer, [row.prompt for row in rows], max_tokens=max_tokens)
    for row, text in zip(rows, texts, strict=True):
        right[row.group].append(text == row.target)
    return {group: sum(values) / len(values) for group, values in right.items()}
