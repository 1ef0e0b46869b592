"""What a model thinks of given tokens: their log-probabilities and the likeliest in their place, by reading once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from consort.core.types import Completion, Prompt, Usage
from consort.models.decoding.decode import answer_text, batches, check_window, prompt_tokens
from consort.models.decoding.score import MAX_LOGITS
from consort.models.token_model import TokenModel
from consort.server.request import Answer, Echoed
from consort.server.scheduler.group import told_of
from consort.server.scheduler.ticket import Told


def read(
    model: TokenModel, token_lists: Sequence[Sequence[int]], top: int, *, next_too: bool = False
) -> list[list[Told]]:
    """For each list, what is told of each token after the first; with `next_too` also of the likeliest that follows."""
    found: list[list[Told]] = [[] for _ in token_lists]
    extra = 1 if next_too else 0
    for number, tokens in enumerate(token_lists):
        check_window(model, len(tokens) - 1 + extra, f"prompts[{number}]", tokens[: len(tokens) - 1 + extra])
    sizes = [max(len(tokens) - 1 + extra, 0) for tokens in token_lists]
    for batch in batches(sizes, model.batch_tokens):
        batch = [i for i in batch if sizes[i]]
        if batch:
            _read_batch(model, {i: list(token_lists[i]) for i in batch}, found, top, extra)
    return found


def _read_batch(model: TokenModel, lists: dict[int, list[int]], found: list[list[Told]], top: int, extra: int) -> None:
    session = model.open(len(lists))
    piece = max(1, MAX_LOGITS // (model.tokenizer.vocab_size * len(lists)))
    longest = max(len(tokens) - 1 + extra for tokens in lists.values())
    for at in range(0, longest, piece):
        fed = [tokens[at : min(at + piece, len(tokens) - 1 + extra)] for tokens in lists.values()]
        for (i, tokens), logits in zip(lists.items(), session.feed(fed), strict=True):
            if len(logits):
                found[i] += _told(logits, tokens[at + 1 : at + 1 + len(logits)], top)


def _told(logits: Any, tokens: Sequence[int], top: int) -> list[Told]:
    """Of given tokens, and of the likeliest where one more row of logits is there than tokens."""
    logprobs = logits.log_softmax(-1).cpu()
    ids = [*tokens, *([int(logits[-1].argmax())] if len(tokens) < len(logits) else [])]
    picked = logprobs.gather(-1, torch.tensor(ids).unsqueeze(-1)).squeeze(-1).tolist()
    return [told_of(token, value, row, top) for token, value, row in zip(ids, picked, logprobs, strict=True)]


def echoes(model: TokenModel, prompts: Sequence[Prompt], top: int | None) -> list[Echoed]:
    """Every prompt as its tokens, with what the model thinks of each after the first (`top` None: nothing is read)."""
    lists = [prompt_tokens(model.tokenizer, prompt) for prompt in prompts]
    told: list[list[Told]] = [[Told(t, None) for t in tokens[1:]] for tokens in lists]
    if top is not None:
        told = read(model, lists, top)
    return [
        Echoed(_shown(model, prompt, tokens), (Told(tokens[0], None), *row))
        for prompt, tokens, row in zip(prompts, lists, told, strict=True)
        if tokens
    ]


def echo_answers(model: TokenModel, prompts: Sequence[Prompt], most: int, top: int | None) -> list[Answer]:
    """Echoes with the likeliest next token (`most` 1) or none, all from one reading."""
    lists = [prompt_tokens(model.tokenizer, prompt) for prompt in prompts]
    found = []
    told = read(model, lists, top or 0, next_too=bool(most))
    for prompt, tokens, row in zip(prompts, lists, told, strict=True):
        new = row[len(tokens) - 1 :]
        if top is None:
            row = [Told(one.token, None) for one in row]
        echoed = Echoed(_shown(model, prompt, tokens), (Told(tokens[0], None), *row[: len(tokens) - 1]))
        ids = [one.token for one in new if isinstance(one.token, int)]
        ended = bool(ids) and ids[0] in model.ends
        text = "" if ended or not ids else answer_text(model.tokenizer, tokens, ids)
        usage = Usage(len(tokens), len(ids), 1)
        logprob = sum(one.logprob or 0.0 for one in new)
        finish = "stop" if ended else "length"
        one = Completion(text, tuple(ids), logprob, finish, usage, {model.name: usage})
        found.append(Answer(0, text, finish, one, (), tuple(new) if top is not None else None, echoed))
    return found


def _shown(model: TokenModel, prompt: Prompt, tokens: Sequence[int]) -> str:
    return prompt if type(prompt) is str else model.tokenizer.decode(tokens)
