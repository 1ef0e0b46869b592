"""The decoding loop: any token model, many prompts, ragged batches; finished rows leave, and so may the caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan
from threading import Event
from typing import Any

import torch

from consort.core.errors import BadCheckpoint, BadData
from consort.core.prompts import check_list
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.models.base import LogitModel, Session, Tokenizer
from consort.models.decoding.grammar import bound, is_over
from consort.models.decoding.sampling import adjusted, check, check_bias, choose, key
from consort.models.tokens.tokenizer import read_chat

_CONTEXT = 8
"""How many prompt tokens an answer is decoded after, since many tokenizers decode a token by what precedes it."""

_SHRINK = 0.75
"""Finished rows leave a batch once at most this share of it still runs: leaving copies the cache of those that stay."""


_EXPECTED = 256
"""Batches are cut as if answers had at most this many tokens: most stop long before a large `max_tokens`."""

Cancel = Event | Callable[[], bool]
"""Asked before each step: whether the answers are no longer wanted."""


@dataclass(slots=True)
class Row:
    """An answer in the making."""

    prompt: list[int]
    key: bytes
    limit: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str | None = None
    finish: str = ""
    cost: dict[str, Usage] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    """What the session has to tell of this row, for the answer's details."""
    floor: int = 0
    """Where in the text a stop string must end after: what `min_tokens` protects."""


def generate(
    model: LogitModel,
    prompts: Sequence[Prompt],
    sampling: Sampling = Sampling(),
    *,
    cancel: Cancel | None = None,
) -> list[Completion]:
    """One completion for each prompt, in order.

    Batches are bounded by `model.batch_tokens`, longest prompts first. An answer stops at one of `model.ends` or at a
    stop string ("stop"), or at `max_tokens` or the end of the context window ("length"). `tokens` are all tokens drawn,
    the end included; `details["logprobs"]` has the log-probability of each. Once `cancel` is set (an Event) or true (a
    function), unfinished answers end as they are ("cancelled"). Raises BadData, before any work, for a prompt that is
    empty or does not fit into the window, BadParameter for a setting out of range.
    """
    rows, sampling = rows_of(model, prompts, sampling), bound(sampling, model)
    sizes = [len(row.prompt) + min(row.limit, _EXPECTED) for row in rows]
    for batch in batches(sizes, model.batch_tokens):
        decode(model, [rows[i] for i in batch], sampling, cancel=cancel)
    return [completion_of(model, row) for row in rows]


def decode(model: LogitModel, rows: list[Row], sampling: Sampling, *, cancel: Cancel | None = None) -> None:
    """Finish rows that `rows_of` has made, as one batch in this order."""
    for _ in _steps(model, rows, sampling, cancelled_by(cancel)):
        pass


def stream(
    model: LogitModel, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
) -> Generator[str, None, Completion]:
    """Pieces of the text that `generate` gives for `prompt`, never a broken character or a part of a stop string."""
    (row,) = rows_of(model, [prompt], sampling)
    return _pieces(model, row, bound(sampling, model), cancelled_by(cancel))


def cancelled_by(cancel: Cancel | None) -> Callable[[], bool]:
    if cancel is None:
        return bool
    return cancel.is_set if isinstance(cancel, Event) else cancel


def _pieces(
    model: LogitModel, row: Row, sampling: Sampling, cancelled: Callable[[], bool]
) -> Generator[str, None, Completion]:
    sent = ""
    for _ in _steps(model, [row], sampling, cancelled):
        if not row.finish:
            sure = settled(answer_text(model.tokenizer, row.prompt, content_of(model, row)), sampling.stop)
            if len(sure) > len(sent) and sure.startswith(sent):
                yield sure[len(sent) :]
                sent = sure
    done = completion_of(model, row)
    if len(done.text) > len(sent):
        yield done.text[len(sent) :]
    return done


def settled(text: str, stop: Sequence[str]) -> str:
    """`text` without an ending that the next token may still change."""
    while text.endswith("\ufffd"):
        text = text[:-1]
    held = max((n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
    return text[: len(text) - held]


def batches(sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in groups of similar size, largest first; a group's count times its largest size is at most `budget`."""
    group: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if group and (len(group) + 1) * sizes[group[0]] > budget:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def prompt_tokens(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    """What a model reads for `prompt`; an empty one is the token that starts a text, if there is any."""
    tokens = read_chat(tokenizer, prompt)
    if len(tokens) > 1 and tokens[0] == tokens[1] == tokenizer.bos:  # the template wrote one, the tokenizer another
        tokens = tokens[1:]
    return tokens or start(tokenizer)


def start(tokenizer: Tokenizer) -> list[int]:
    """The token that a text without beginning is conditioned on: bos, else eos, else none."""
    first = tokenizer.eos if tokenizer.bos is None else tokenizer.bos
    return [] if first is None else [first]


def answer_text(tokenizer: Tokenizer, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """The text of `tokens` as they stand after `prompt`, a leading space included."""
    context = list(prompt[-_CONTEXT:])
    before, whole = tokenizer.decode(context), tokenizer.decode([*context, *tokens])
    while before.endswith("\ufffd"):
        before = before[:-1]
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(tokens)


def rows_of(
    model: LogitModel, prompts: Sequence[Prompt], sampling: Sampling, owners: Sequence[int] | None = None
) -> list[Row]:
    """Rows to be decoded. A prompt's repetitions draw other numbers; they count for each of `owners` by itself."""
    check_list(prompts)
    check(sampling, len(prompts))
    check_bias(sampling, model.tokenizer.vocab_size)
    rows, seen = [], Counter[tuple[int, tuple[int, ...]]]()
    texts = {
        text: prompt_tokens(model.tokenizer, text) for text in dict.fromkeys(p for p in prompts if isinstance(p, str))
    }
    for number, prompt in enumerate(prompts):
        tokens = list(texts[prompt]) if isinstance(prompt, str) else prompt_tokens(model.tokenizer, prompt)
        if not tokens:
            raise BadData("is empty, and the tokenizer has no bos or eos to start from", field=f"prompts[{number}]")
        check_window(model, len(tokens), f"prompts[{number}]", tokens)
        room = sampling.max_tokens if model.window is None else model.window - len(tokens) + 1
        same = (owners[number] if owners else 0, tuple(tokens))
        repetition = seen[same]
        seen[same] += 1
        start = key(sampling.seeds[number], tokens, 0) if sampling.seeds else key(sampling.seed, tokens, repetition)
        rows.append(Row(tokens, start, min(sampling.max_tokens, room)))
    return rows


def check_window(model: LogitModel, length: int, field: str, tokens: Sequence[int] = ()) -> None:
    """Raise BadData if `length` tokens are more than `model` can read.

    With `tokens`, also if they are more than a model can read that makes other tokens of them (`check_text`): `model`
    or one of its members that is fed as it is.
    """
    if model.window is not None and length > model.window:
        message = f"{length} tokens are more than the context window of {model.name}, {model.window}"
        raise BadData(message, field=field, hint="shorten the text, or take a model with a longer window")
    own = getattr(model, "check_text", None)
    if own is not None and len(tokens):
        own(tokens, field)
        return
    for member in getattr(model, "members", ()) if len(tokens) else ():
        if hasattr(member, "open") and member.tokenizer.vocabulary_key == model.tokenizer.vocabulary_key:
            check_window(member, 0, field, tokens)


def _steps(model: LogitModel, rows: list[Row], sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Draw tokens until every row is finished, one for each running row between two yields."""
    for row in rows:
        row.finish = "" if row.limit else "length"
    held = [row for row in rows if not row.finish]
    if not held or cancel_if_asked(held, cancelled):
        return
    session, feed = model.open(len(held)), [row.prompt for row in held]
    for position in range(max(row.limit for row in held)):
        logits = session.feed(feed, last=True)
        for row, full in zip(held, full_rows(session, len(held)), strict=True):
            row.finish = row.finish or ("length" if full else "")
        running = [row for row in held if not row.finish]
        drawn = [x for x, row in zip(logits, held, strict=True) if not row.finish]
        if running:
            _draw(model, running, torch.cat(drawn), sampling, position)
        gone = cancel_if_asked(running, cancelled)
        left = sum(not row.finish for row in running)
        if left <= _SHRINK * len(held):
            _charge(session, held)
        if 0 < left <= _SHRINK * len(held):
            kept = [i for i, row in enumerate(held) if not row.finish]
            session, held = session.select(kept), [held[i] for i in kept]
        yield
        if gone or not left:
            return
        feed = [[] if row.finish else row.tokens[-1:] for row in held]


def full_rows(session: Session, batch: int) -> list[bool]:
    """For each row whether the session has no room to go on, if it tells (a model of other tokens than it is fed)."""
    full = getattr(session, "full", None)
    return [False] * batch if full is None else list(full())


def cancel_if_asked(rows: list[Row], cancelled: Callable[[], bool]) -> bool:
    """Whether the caller has gone; then unfinished rows are cancelled."""
    gone = cancelled()
    for row in rows if gone else ():
        row.finish = row.finish or "cancelled"
    return gone


def _draw(model: LogitModel, rows: list[Row], logits: torch.Tensor, sampling: Sampling, position: int) -> None:
    scores = adjusted(logits, sampling, [row.prompt for row in rows], [row.tokens for row in rows], model.ends)
    chosen = choose(scores, sampling, [row.key for row in rows], position)
    logprobs = logits.log_softmax(-1).gather(-1, chosen.unsqueeze(-1)).squeeze(-1).tolist()
    for row, token, logprob in zip(rows, chosen.tolist(), logprobs, strict=True):
        if isnan(logprob):
            hint = "look for NaN in its weights"
            raise BadCheckpoint("gives logits that are not numbers", field=model.name, hint=hint)
        row.tokens.append(token)
        row.logprobs.append(logprob)
        finish(model, row, sampling)


def finish(model: LogitModel, row: Row, sampling: Sampling) -> None:
    """Say that a row has ended, and why: its last token is an end or its last, or completes a stop string."""
    if row.tokens[-1] in model.ends:
        row.finish = "stop"
    elif len(row.tokens) == row.limit:
        row.finish = "length"
    if is_over(sampling, row.tokens):
        row.finish = "stop"
    if not sampling.stop or _no_stop_near(model.tokenizer, row, sampling):
        return
    text = answer_text(model.tokenizer, row.prompt, content_of(model, row))
    if len(row.tokens) <= sampling.min_tokens:
        row.floor = len(text)
    found = [at for s in sampling.stop if (at := text.find(s, max(0, row.floor + 1 - len(s)))) >= 0]
    if found:
        row.finish, row.text = "stop", text[: min(found)]


def _no_stop_near(tokenizer: Tokenizer, row: Row, sampling: Sampling) -> bool:
    """Whether the last few tokens of a long answer are enough to see that no stop string has just come about."""
    longest = max(map(len, sampling.stop))
    few = longest + 16
    if len(row.tokens) <= max(2 * few, sampling.min_tokens):
        return False
    tail = answer_text(tokenizer, row.tokens[: -few - 1], row.tokens[-few - 1 :])
    return len(tail) - len(tokenizer.decode(row.tokens[-1:])) >= longest and not any(s in tail for s in sampling.stop)


def content_of(model: LogitModel, row: Row) -> list[int]:
    """The tokens of the answer without the one that ended it."""
    return row.tokens[:-1] if row.tokens and row.tokens[-1] in model.ends else row.tokens


def _charge(session: Session, held: list[Row]) -> None:
    for row, cost, notes in zip(held, session.spent(), notes_of(session, len(held)), strict=True):
        if row.finish:
            row.cost, row.notes = cost, notes


def notes_of(session: Session, batch: int) -> list[dict[str, Any]]:
    """What a session tells of its rows beside their cost, if it does."""
    notes = getattr(session, "notes", None)
    return [{}] * batch if notes is None else list(notes())


def completion_of(model: LogitModel, row: Row) -> Completion:
    """The completion of a row that has ended."""
    text = answer_text(model.tokenizer, row.prompt, content_of(model, row)) if row.text is None else row.text
    seconds = sum(usage.seconds for usage in row.cost.values())
    return Completion(
        text,
        tuple(row.tokens),
        sum(row.logprobs),
        row.finish,
        Usage(len(row.prompt), len(row.tokens), 1, seconds),
        row.cost,
        {"logprobs": tuple(row.logprobs), **row.notes},
    )
