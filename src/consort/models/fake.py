"""Exact, instant models for tests: answers from a table or a function, logits from a bigram table or a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.binding import described
from consort.core.errors import BadData
from consort.core.prompts import check_list
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.models.base import Session
from consort.models.cost import Meter
from consort.models.decoding.sampling import check
from consort.models.token_model import TokenModel
from consort.models.tokens.chats import plain_chat
from consort.models.tokens.tokenizer import vocabulary_key


class FakeModel:
    """Answers from a table or a function of the prompt's text; a chat is looked up by its last message.

    Tokens are words. `logprob` is that of a whole answer (nats), a function of it, or None where it shall be unknown.
    Raises BadData for a prompt that the table does not have.
    """

    __repr__ = described

    def __init__(
        self,
        answers: Mapping[str, str] | Callable[[str], str],
        *,
        name: str = "fake",
        logprob: float | Callable[[str], float] | None = None,
    ) -> None:
        self.answers, self.name, self.logprob = answers, name, logprob

    @property
    def gives_logprob(self) -> bool:
        return self.logprob is not None

    @property
    def at_once(self) -> bool:
        """Whether `generate` neither waits nor works: a table does not, a function may."""
        return not callable(self.answers) and not callable(self.logprob)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        check_list(prompts)
        check(sampling)
        return [self._complete(prompt, sampling) for prompt in prompts]

    def _complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        words = self._answer(asked).split(" ")
        finish = "length" if len(words) > sampling.max_tokens else "stop"
        words = words[: sampling.max_tokens]
        text = " ".join(words)
        for stop in sampling.stop:
            text = text.split(stop)[0]
        logprob = self.logprob(text) if callable(self.logprob) else self.logprob
        usage = Usage(len(asked.split()), len(words), 1)
        return Completion(text, tuple(range(len(words))), logprob, finish, usage, {self.name: usage})

    def _answer(self, asked: str) -> str:
        if callable(self.answers):
            return self.answers(asked)
        if asked not in self.answers:
            raise BadData(f"{self.name} has no answer to {asked!r}", field="prompt")
        return self.answers[asked]


class FakeTokenizer:
    """One token for each character of `alphabet`, in order, then bos and eos; characters outside it are refused."""

    def __init__(self, alphabet: str = "abc ", *, bos: bool = True, eos: bool = True) -> None:
        self.alphabet = alphabet
        size = len(alphabet)
        self.bos = size if bos else None
        self.eos = size + bos if eos else None
        self.vocab_size = size + bos + eos
        specials = {"<bos>": self.bos, "<eos>": self.eos}
        self.vocabulary_key = vocabulary_key(
            {c: i for i, c in enumerate(alphabet)} | {name: i for name, i in specials.items() if i is not None}
        )

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        unknown = set(text) - set(self.alphabet)
        if unknown:
            raise BadData(f"no token for {sorted(unknown)}", field="text", hint=f"use {self.alphabet!r}")
        head = [] if self.bos is None or not special else [self.bos]
        return head + [self.alphabet.index(c) for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.alphabet[t] for t in tokens if t < len(self.alphabet))

    def chat(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else plain_chat(prompt)


NextLogits = Callable[[tuple[int, ...]], Sequence[float]]
"""All tokens so far (at least one) to the logits of the next."""


class FakeTokenModel(TokenModel):
    """A token model whose logits are any function of the tokens so far; a float64 sum makes every row exact."""

    def __init__(
        self,
        logits: NextLogits,
        tokenizer: FakeTokenizer | None = None,
        *,
        name: str = "fake",
        window: int | None = None,
    ) -> None:
        self.logits, self.name, self.window = logits, name, window
        self.tokenizer: FakeTokenizer = FakeTokenizer() if tokenizer is None else tokenizer

    @classmethod
    def bigram(
        cls, table: Sequence[Sequence[float]], tokenizer: FakeTokenizer | None = None, *, name: str = "bigram"
    ) -> FakeTokenModel:
        """The next token depends on the last alone: row t of `table` are the probabilities after token t."""
        logs = [[math.log(p) if p else -math.inf for p in row] for row in table]
        return cls(lambda tokens: logs[tokens[-1]], tokenizer, name=name)

    @classmethod
    def random(cls, seed: int, tokenizer: FakeTokenizer | None = None, *, name: str | None = None) -> FakeTokenModel:
        """Logits from a normal distribution, fixed by the seed; they depend on the last two tokens."""
        texts = FakeTokenizer() if tokenizer is None else tokenizer
        size = texts.vocab_size
        table = torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed)).tolist()
        return cls(lambda t: table[t[-2] if len(t) > 1 else 0][t[-1]], texts, name=name or f"random-{seed}")

    def open(self, batch: int = 1) -> Session:
        return _FakeSession(self, batch)


class _FakeSession:
    def __init__(self, model: FakeTokenModel, batch: int) -> None:
        self.model, self.meter = model, Meter(model.name, batch)
        self.rows: list[tuple[int, ...]] = [()] * batch

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        found = []
        for row, new in enumerate(tokens):
            before = len(self.rows[row])
            self.rows[row] += tuple(new)
            ends = range(before + 1, before + len(new) + 1)
            logits = [self.model.logits(self.rows[row][:end]) for end in (ends[-1:] if last else ends)]
            found.append(torch.tensor(logits, dtype=torch.float32).view(-1, self.model.tokenizer.vocab_size))
        self.meter.add(tokens, last, 0.0)
        return found

    def rollback(self, lengths: Sequence[int]) -> None:
        self.rows = [row[:length] for row, length in zip(self.rows, lengths, strict=True)]

    def admit(self, rows: int) -> _FakeSession:
        self.rows += [()] * rows
        self.meter.admit(rows)
        return self

    def select(self, rows: Sequence[int]) -> _FakeSession:
        self.rows = [self.rows[row] for row in rows]
        self.meter.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.meter.spent()
