"""Log-likelihoods of given tokens and texts, by reading them once in ragged batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadData
from consort.core.prompts import check_list
from consort.models.base import LogitModel, Tokenizer
from consort.models.decoding.decode import batches, check_window, start

MAX_LOGITS = 2**26
"""Most logits held at once (float32, hence 256 MiB): long batches are read in pieces."""


def logprobs(model: LogitModel, token_lists: Sequence[Sequence[int]]) -> list[Float[Tensor, " rest"]]:
    """Log-probability (nats, float32) of each token after the first, given those before it.

    Raises BadData, before any work, for a list that does not fit into the context window.
    """
    for number, tokens in enumerate(token_lists):
        check_window(model, len(tokens) - 1, f"token_lists[{number}]", tokens[:-1])
    found: list[Tensor] = [torch.empty(0)] * len(token_lists)
    sizes = [max(len(tokens) - 1, 0) for tokens in token_lists]
    for batch in batches(sizes, model.batch_tokens):
        batch = [i for i in batch if sizes[i]]
        for i, values in zip(batch, _read(model, [token_lists[i] for i in batch]), strict=True):
            found[i] = values
    return found


def _read(model: LogitModel, lists: Sequence[Sequence[int]]) -> list[Float[Tensor, " rest"]]:
    if not lists:
        return []
    session, parts = model.open(len(lists)), [[torch.empty(0)] for _ in lists]
    piece = max(1, MAX_LOGITS // (model.tokenizer.vocab_size * len(lists)))
    for at in range(0, max(map(len, lists)) - 1, piece):
        logits = session.feed([tokens[at : min(at + piece, len(tokens) - 1)] for tokens in lists])
        for row, tokens in enumerate(lists):
            parts[row].append(_picked(logits[row], tokens[at + 1 : at + 1 + piece]))
    return [torch.cat(row) for row in parts]


def score(model: LogitModel, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Log-likelihood (nats) of each continuation after its context.

    Both are encoded together and the continuation is what follows the tokens of the context, whose trailing spaces
    move over to the continuation (as lm-eval does). An empty context is bos, or eos where there is none; an empty
    continuation scores 0. Raises BadData for a pair that does not fit into the context window.
    """
    check_list(pairs, "pairs", '[("context", "continuation")]')
    split = [split_pair(model.tokenizer, *pair, field=f"pairs[{i}]") for i, pair in enumerate(pairs)]
    for number, (head, tail) in enumerate(split):
        check_window(model, len(head) + len(tail) - 1, f"pairs[{number}]", [*head, *tail][:-1])
    found = [0.0] * len(pairs)
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, (head, tail) in enumerate(split):
        if tail:
            groups.setdefault(tuple(head), []).append(number)
    shared = {head: rows for head, rows in groups.items() if len(rows) > 1 and _small(model, split, rows)}
    for number, value in _with_shared_heads(model, split, shared):
        found[number] = value
    single = [i for head, rows in groups.items() if head not in shared for i in rows]
    for i, values in zip(single, logprobs(model, [[*split[i][0], *split[i][1]] for i in single]), strict=True):
        found[i] = float(values[len(split[i][0]) - 1 :].double().sum())
    return found


_Split = Sequence[tuple[list[int], list[int]]]


def _small(model: LogitModel, split: _Split, rows: Sequence[int]) -> bool:
    """The continuations of a context can be read at once."""
    return sum(len(split[i][1]) for i in rows) * model.tokenizer.vocab_size <= MAX_LOGITS // 8


def _with_shared_heads(
    model: LogitModel, split: _Split, groups: Mapping[tuple[int, ...], Sequence[int]]
) -> Iterator[tuple[int, float]]:
    """Numbers and scores of pairs grouped by context: each context is read once, then copied to its continuations."""
    heads = list(groups)
    sizes = [sum(len(head) + len(split[i][1]) for i in groups[head]) for head in heads]
    for batch in batches(sizes, model.batch_tokens):
        rows = [(at, i) for at, head in enumerate(batch) for i in groups[heads[head]]]
        session = model.open(len(batch))
        first = session.feed([heads[head] for head in batch], last=True)
        rest = session.select([at for at, _ in rows]).feed([split[i][1][:-1] for _, i in rows])
        for (at, i), logits in zip(rows, rest, strict=True):
            yield i, float(_picked(torch.cat([first[at], logits]), split[i][1]).double().sum())


def _picked(logits: Float[Tensor, "new vocab"], tokens: Sequence[int]) -> Float[Tensor, " new"]:
    """Log-probability of each token under its row of logits, on the CPU."""
    wanted = torch.tensor(tokens, dtype=torch.long, device=logits.device)
    return logits.log_softmax(-1).gather(-1, wanted.unsqueeze(-1)).squeeze(-1).cpu()


def split_pair(tokenizer: Tokenizer, context: str, continuation: str, *, field: str) -> tuple[list[int], list[int]]:
    """The tokens of a context, at least one, and of what continues it."""
    kept = context.rstrip()
    head, whole = tokenizer.encode(kept), tokenizer.encode(context + continuation)
    if not head:
        head = start(tokenizer)
        whole = head + whole
    if not head:
        raise BadData("has no context, and the tokenizer no bos or eos to start from", field=field)
    return head, whole[len(head) :] if continuation else []
