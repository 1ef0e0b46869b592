"""What merges are trained on: prompts with answers, or plain texts, as tokens of which some are predicted.

A file has a task's columns: `prompt` with or without `target`, or `text`; `group` names the task of a line. The target
only says where an answer lies and what precedes each of its tokens; entropy needs no labels. Where there is none, the
merge that training starts from writes the answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from consort.core.errors import BadData
from consort.core.types import Sampling
from consort.data.rows import example_of, parse_row, read_lines

if TYPE_CHECKING:
    from consort.models.hf.model import HFModel

MAX_TOKENS = 512
MAX_ANSWER = 64
"""Tokens of an answer that the merge itself writes."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file; a plain text is all answer."""

    prompt: str
    answer: str | None
    task: str


@dataclass(frozen=True, slots=True)
class Passage:
    """Tokens of a prompt and its answer; those from `start` on are the answer's."""

    tokens: tuple[int, ...]
    start: int
    task: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded on the right; `foretells` marks the positions whose next token belongs to an answer."""

    tokens: Int[Tensor, "row token"]
    foretells: Bool[Tensor, "row token"]


Draw = Callable[[random.Random], Mapping[str, Batch]]
"""Some passages of each task."""


def read_passages(path: str | Path, limit: int | None = None) -> list[Line]:
    """The lines of a JSONL file, the first `limit` of them. Raises BadData."""
    found = []
    for number, content in read_lines(Path(path)):
        where = f"{path}:{number}"
        example = example_of(parse_row(content, where), where, number)
        if example.messages is not None:
            raise BadData("messages are not read here", field=where, hint="write the chat as one prompt")
        answer = example.text if example.text is not None else next(iter(example.target), None)
        found.append(Line(example.prompt or "", answer, example.group or ""))
        if len(found) == limit:
            break
    if not found:
        raise BadData("holds no passages", field=str(path), hint='lines of {"prompt": …, "target": …} or {"text": …}')
    return found


def encoded(lines: Sequence[Line], model: HFModel, max_tokens: int = MAX_TOKENS) -> list[Passage]:
    """The lines as tokens of `model`, which also writes the answers that are missing. Raises BadData."""
    open_lines = [line for line in lines if line.answer is None]
    told = model.generate([line.prompt for line in open_lines], Sampling(max_tokens=MAX_ANSWER)) if open_lines else []
    written = iter(told)
    longest = min(max_tokens, model.window or max_tokens)
    found = []
    for line in lines:
        head = model.tokenizer.encode(line.prompt) if line.prompt else model.tokenizer.encode("")
        tail = list(next(written).tokens) if line.answer is None else _answer(model, line.prompt, line.answer, head)
        passage = Passage(tuple([*head, *tail][:longest]), max(1, len(head)), line.task)
        if len(passage.tokens) > passage.start:
            found.append(passage)
    if not found:
        raise BadData("no answer has a token to foretell", field="texts", hint="give longer texts, or fewer at a time")
    return found


def _answer(model: HFModel, prompt: str, answer: str, head: list[int]) -> list[int]:
    """The answer's tokens as they stand after the prompt, and the one that ends it."""
    tokenizer = model.tokenizer
    joint = "" if not prompt or prompt[-1].isspace() else " "
    whole = tokenizer.encode(f"{prompt}{joint}{answer}")
    tail = whole[len(head) :] if whole[: len(head)] == head else tokenizer.encode(answer, special=False)
    return [*tail, *([] if tokenizer.eos is None or not prompt else [tokenizer.eos])]


def drawing(passages: Sequence[Passage], size: int) -> Draw:
    """A function that draws `size` passages of each task, all of them where there are fewer."""
    tasks: dict[str, list[Passage]] = {}
    for passage in passages:
        tasks.setdefault(passage.task, []).append(passage)

    def draw(rng: random.Random) -> dict[str, Batch]:
        return {task: collated(rng.sample(own, min(size, len(own)))) for task, own in tasks.items()}

    return draw


def in_batches(passages: Sequence[Passage], size: int) -> Iterator[Batch]:
    """All passages in order."""
    for start in range(0, len(passages), size):
        yield collated(passages[start : start + size])


def collated(passages: Sequence[Passage]) -> Batch:
    """Passages as one batch; what pads is token 0, after everything that counts."""
    width = max(len(passage.tokens) for passage in passages)
    tokens = torch.zeros(len(passages), width, dtype=torch.long)
    foretells = torch.zeros(len(passages), width, dtype=torch.bool)
    for row, passage in enumerate(passages):
        tokens[row, : len(passage.tokens)] = torch.tensor(passage.tokens)
        foretells[row, passage.start - 1 : len(passage.tokens) - 1] = True
    return Batch(tokens, foretells)


def entropy(logits: Float[Tensor, "row token vocab"], batch: Batch) -> Float[Tensor, ""]:
    """Mean entropy (nats) of the next-token distributions at the answers' positions."""
    logs = logits[batch.foretells].float().log_softmax(-1)
    return -(logs.exp() * logs).sum(-1).mean()


def surprise(logits: Float[Tensor, "row token vocab"], batch: Batch) -> Float[Tensor, ""]:
    """Mean cross entropy (nats) of the answers' own tokens."""
    labels = batch.tokens.roll(-1, 1)[batch.foretells].to(logits.device)
    return torch.nn.functional.cross_entropy(logits[batch.foretells].float(), labels)


def forward(module: Any, parameters: Mapping[str, Tensor], batch: Batch) -> Float[Tensor, "row token vocab"]:
    """Logits of the module with `parameters` in the place of its own."""
    tokens = batch.tokens.to(module.device)
    out = torch.func.functional_call(module, dict(parameters), kwargs={"input_ids": tokens})
    return out.logits  # type: ignore[no-any-return]
