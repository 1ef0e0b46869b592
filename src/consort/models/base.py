"""What a language model is, for everything above: text in and text out, or open down to its logits.

A strategy takes models and is a model, so strategies nest, are evaluated, searched and served alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jaxtyping import Float

from consort.core.types import Completion, Prompt, Sampling, Usage

if TYPE_CHECKING:
    from torch import Tensor

    from consort.models.decoding.decode import Cancel


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back. Two tokenizers of equal `vocabulary_key` have the same ids for the same tokens.

    A tokenizer that cannot write every text may name, as `unk`, the token that stands for what it cannot write.
    """

    vocabulary_key: str
    vocab_size: int
    bos: int | None
    eos: int | None

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of `text`; with `special` the tokenizer adds what it adds at the start of a text (bos)."""

    def decode(self, tokens: Sequence[int]) -> str: ...

    def chat(self, prompt: Prompt) -> str:
        """A chat as one text, by the model's template; a string is returned as it is."""


@runtime_checkable
class LanguageModel(Protocol):
    """The least that can be evaluated and served: prompts to completions, in order, one for each."""

    name: str

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]: ...


@runtime_checkable
class Scorer(Protocol):
    """Can tell how likely a continuation is: log-likelihoods in nats, which choices and reranking need."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]: ...


@runtime_checkable
class Session(Protocol):
    """A batch of sequences being read; ragged; can step back."""

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        """Read more tokens of each sequence (none for some is fine).

        Row i of a result are the float32 next-token logits after that sequence's i-th new token; with `last` only the
        final row is computed. An empty feed gives an empty (0, vocab) tensor.
        """

    def rollback(self, lengths: Sequence[int]) -> None:
        """Forget all but the first lengths[row] tokens of each sequence."""

    def select(self, rows: Sequence[int]) -> Session:
        """The session of these rows, kept, repeated or reordered; this one must not be used after."""

    def spent(self) -> list[dict[str, Usage]]:
        """What each row has cost so far, by name of the model at work; `cost.Meter` keeps count for a plain model.

        A row that `select` repeats keeps its cost in the first copy, so that sums stay right.
        """


class TokenModel(ABC):
    """A model open down to its logits. `open` is all there is to write; generate, stream and score follow from it.

    `window` is the most tokens a sequence may have (None: no bound), `batch_tokens` the most that one batch may hold,
    `ends` the tokens that end an answer (by default the tokenizer's eos), `members` the models this one is made of.
    """

    name: str
    tokenizer: Tokenizer
    window: int | None = None
    batch_tokens: int = 16384
    gives_logprob: bool = True

    @property
    def members(self) -> Sequence[Any]:
        return ()

    @property
    def ends(self) -> frozenset[int]:
        return frozenset(() if self.tokenizer.eos is None else (self.tokenizer.eos,))

    @abstractmethod
    def open(self, batch: int = 1) -> Session: ...

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> list[Completion]:
        """One completion for each prompt, in order; a row's answer does not depend on its batch (see `decode`).

        `cancel` is asked before each step: once it is set (an Event) or true (a function), answers end as they are.
        """
        from consort.models.decoding.decode import generate

        return generate(self, prompts, sampling, cancel=cancel)

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the text that `generate` would give, as they become certain; returns the completion at the end."""
        from consort.models.decoding.decode import stream

        return stream(self, prompt, sampling, cancel=cancel)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) of each continuation after its context (see `score.score`)."""
        from consort.models.decoding.score import score

        return score(self, pairs)

    def logprobs(self, token_lists: Sequence[Sequence[int]]) -> list[Float[Tensor, " rest"]]:
        """Log-probability (nats) of each token after the first, given those before it."""
        from consort.models.decoding.score import logprobs

        return logprobs(self, token_lists)
