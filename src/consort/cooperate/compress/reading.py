"""Log-likelihoods of continuations for compressors: long contexts lose their beginning, and the job is charged."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consort.cooperate.compress.compressor import Job
from consort.core.types import Usage
from consort.models.decoding.decode import start


def log_likelihoods(scorer: Any, pairs: Sequence[tuple[str, str]], job: Job) -> list[float]:
    """log p (nats) of each continuation after its context, whose last tokens are read where not all fit."""
    begun = perf_counter()
    tokenizer, window, head = scorer.tokenizer, scorer.window, start(scorer.tokenizer)
    lists, tails = [], []
    for context, continuation in pairs:
        before = tokenizer.encode(context, special=False)
        after = tokenizer.encode(context + continuation, special=False)[len(before) :]
        after = after or tokenizer.encode(continuation, special=False)
        if window is not None:
            after = after[-max(1, window // 2) :]
            before = before[max(0, len(before) - (window + 1 - len(head) - len(after))) :]
        lists.append([*head, *before, *after])
        tails.append(len(after))
    values = scorer.logprobs(lists)
    job.spent.append((scorer, Usage(sum(map(len, lists)), 0, len(lists), perf_counter() - begun)))
    return [float(v[len(v) - n :].double().sum()) if n else 0.0 for v, n in zip(values, tails, strict=True)]
