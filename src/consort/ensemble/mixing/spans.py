"""One model's part in span-level fusion: writing spans behind texts, and telling how likely others' spans are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from consort.core.errors import BadData
from consort.core.prefix import shared_prefix
from consort.core.types import Prompt, Sampling
from consort.models.decoding.decode import answer_text, check_window, prompt_tokens
from consort.models.decoding.retokenized import Reading
from consort.models.decoding.sampling import adjusted, check_bias, choose, key
from consort.models.token_model import TokenModel


@dataclass(frozen=True, slots=True)
class Span:
    """A proposal: tokens of its author, their text, and whether the answer ends with it."""

    tokens: tuple[int, ...]
    text: str
    ended: bool


@dataclass(slots=True)
class Answer:
    """A text in the making; `tokens` are those its spans' writers wrote."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    offered: list[tuple[int, Span]] = field(default_factory=list)
    done: bool = False
    ended: bool = False
    floor: int = 0
    """Where in the text a stop string must end after: what `min_tokens` protects, to the end of a span."""

    def take(self, scores: Sequence[float], sampling: Sampling) -> None:
        """Append the best of the spans offered (of equals the first); stop where it, or a stop string, says so."""
        author, span = self.offered[max(range(len(scores)), key=lambda k: (scores[k], -k))]
        self.text, self.tokens = self.text + span.text, [*self.tokens, *span.tokens]
        self.taken.append(author)
        self.ended = span.ended
        if len(self.tokens) <= sampling.min_tokens:
            self.floor = len(self.text)
        found = [at for s in sampling.stop if (at := self.text.find(s, max(0, self.floor + 1 - len(s)))) >= 0]
        if found:
            self.text, self.ended = self.text[: min(found)], True
        self.done = self.ended or len(self.tokens) >= sampling.max_tokens


class SpanWriter:
    """A model with all prompts of a call open; what it has read of a text is kept from span to span."""

    def __init__(self, model: TokenModel, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        self.model, self.sampling = model, sampling
        self.texts = [model.tokenizer.chat(prompt) for prompt in prompts]
        self.prompts = [prompt_tokens(model.tokenizer, prompt) for prompt in prompts]
        for number, tokens in enumerate(self.prompts):
            if not tokens:
                raise BadData("is empty, and the tokenizer has no bos or eos to start from", field=f"prompts[{number}]")
            check_window(model, len(tokens), f"prompts[{number}]")
        check_bias(sampling, model.tokenizer.vocab_size)
        equal = [self.prompts[:i].count(tokens) for i, tokens in enumerate(self.prompts)]
        seeds = [(seed, 0) for seed in sampling.seeds] or [(sampling.seed, n) for n in equal]
        self.keys = [key(seed, tokens, n) for tokens, (seed, n) in zip(self.prompts, seeds, strict=True)]
        self.reading = Reading(model, len(prompts))
        self.written = [{"": list(tokens)} for tokens in self.prompts]
        """For each prompt, answers so far and the tokens they were written with."""

    def propose(self, answers: Sequence[Answer], span: int) -> list[Span]:
        """A span of at most `span` tokens behind each answer that is not done."""
        written: list[list[int]] = [[] for _ in answers]
        heads = [self._read(row, answer.text) for row, answer in enumerate(answers)]
        open_rows = [not answer.done for answer in answers]
        for _ in range(span):
            if not any(open_rows):
                break
            targets = [[[*heads[row], *written[row]]] if still else [] for row, still in enumerate(open_rows)]
            for row, logits in enumerate(self.reading.after(targets, last=True)):
                if len(logits):
                    at = len(answers[row].tokens) + len(written[row])
                    own = [*heads[row], *written[row]][len(self.prompts[row]) :]
                    written[row].append(self._next(logits, row, own, at))
                    room = min(self.sampling.max_tokens - at, self._window(heads[row], written[row]))
                    open_rows[row] = written[row][-1] not in self.model.ends and room > 1
        return [self._span(row, answer.text, heads[row], written[row]) for row, answer in enumerate(answers)]

    def _next(self, logits: torch.Tensor, row: int, own: list[int], at: int) -> int:
        """The next token behind `own`, the answer in this model's tokens; `at` counts those that writers wrote."""
        ends = self.model.ends if at < self.sampling.min_tokens else ()
        settled = adjusted(logits, replace(self.sampling, min_tokens=len(own) + 1), [self.prompts[row]], [own], ends)
        return int(choose(settled, self.sampling, [self.keys[row]], at))

    def _window(self, head: Sequence[int], written: Sequence[int]) -> float:
        """How many tokens the context window leaves, the last one written included."""
        return math.inf if self.model.window is None else self.model.window - len(head) - len(written) + 2

    def _span(self, row: int, before: str, head: list[int], tokens: list[int]) -> Span:
        ended = bool(tokens) and tokens[-1] in self.model.ends
        content = tokens[:-1] if ended else tokens
        text = answer_text(self.model.tokenizer, head, content)
        self.written[row] = {before: head, before + text: [*head, *content]}
        return Span(tuple(tokens), text, ended)

    def opinions(self, answers: Sequence[Answer]) -> list[list[float]]:
        """For each answer and each span offered, the span's log-probability (nats) for each byte and its end."""
        found: list[list[float]] = [[] for _ in answers]
        for turn in range(max((len(answer.offered) for answer in answers), default=0)):
            given = [answer.offered[turn][1] if answer.offered else None for answer in answers]
            heads = [self._read(row, answer.text) for row, answer in enumerate(answers)]
            wholes = [
                head if span is None else self._joined(row, head, span, answers[row].text)
                for row, (head, span) in enumerate(zip(heads, given, strict=True))
            ]
            same = [shared_prefix(head, whole) for head, whole in zip(heads, wholes, strict=True)]
            starts = [max(min(n, len(whole) - 1), 1) for n, whole in zip(same, wholes, strict=True)]
            targets = [
                [] if span is None else [whole[:n] for n in range(at, len(whole) + int(span.ended))]
                for span, at, whole in zip(given, starts, wholes, strict=True)
            ]
            for row, logits in enumerate(self.reading.after(targets)):
                span = given[row]
                if span is not None:
                    found[row].append(self._opinion(logits, wholes[row][starts[row] :], span))
        return found

    def _joined(self, row: int, head: list[int], span: Span, before: str) -> list[int]:
        """The answer's tokens with a span behind: as it was written if that is this model's way, else its text's."""
        content = list(span.tokens[:-1] if span.ended else span.tokens)
        tokenizer = self.model.tokenizer
        known = all(token < tokenizer.vocab_size for token in content)
        if known and answer_text(tokenizer, head, content) == span.text:
            return [*head, *content]
        return tokenizer.encode(self.texts[row] + before + span.text) or head

    def _opinion(self, logits: torch.Tensor, tokens: Sequence[int], span: Span) -> float:
        logp = logits.log_softmax(-1)
        total = sum(float(logp[i, token]) for i, token in enumerate(tokens[: len(logp)]))
        if span.ended:
            total += float(logp[-1, sorted(self.model.ends)].logsumexp(-1)) if self.model.ends else 0.0
        return total / (len(span.text.encode()) + int(span.ended) or 1)

    def _read(self, row: int, text: str) -> list[int]:
        """The prompt and an answer so far in this model's tokens."""
        known = self.written[row].get(text)
        return self.model.tokenizer.encode(self.texts[row] + text) if known is None else known
