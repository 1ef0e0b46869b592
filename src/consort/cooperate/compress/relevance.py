"""How likely a question is after a document: the mean log-probability of its tokens, for documents of any length."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consort.cooperate.compress.compressor import Job
from consort.cooperate.compress.surprisal import read
from consort.core.types import Usage
from consort.models.decoding.decode import start


def likelihoods(scorer: Any, documents: Sequence[str], question: str, job: Job) -> list[float]:
    """Mean log p (nats) of the question's tokens after each document; larger is better.

    A document that does not fit beside the question is read in pieces that overlap by half, and its best piece counts;
    a question of more than half a window is cut to its last tokens.
    """
    begun = perf_counter()
    head, asked = start(scorer.tokenizer), read(scorer.tokenizer, f"\n{question}").ids
    window = scorer.window
    if window is not None:
        asked = asked[-max(1, window // 2) :]
    room = None if window is None else max(0, window + 1 - len(head) - len(asked))
    lists, owner = [], []
    for number, document in enumerate(documents):
        for piece in _pieces(read(scorer.tokenizer, document).ids, room):
            lists.append([*head, *piece, *asked])
            owner.append(number)
    found = [float("-inf")] * len(documents)
    for number, values in zip(owner, scorer.logprobs(lists), strict=True):
        tail = values[-len(asked) :]
        found[number] = max(found[number], float(tail.double().mean()))
    job.spent.append((scorer, Usage(sum(map(len, lists)), 0, len(lists), perf_counter() - begun)))
    return found


def _pieces(tokens: list[int], room: int | None) -> list[list[int]]:
    if room is None or len(tokens) <= room:
        return [tokens]
    if not room:
        return [[]]
    stride = max(1, room // 2)
    starts = [*range(0, len(tokens) - room, stride), len(tokens) - room]
    return [tokens[a : a + room] for a in starts]
