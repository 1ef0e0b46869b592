"""What a language model is, for everything above, as protocols; `token_model` builds on those that are open to logits.

A strategy takes models and is a model, so strategies nest, are evaluated, searched and served alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jaxtyping import Float

from consort.core.types import Completion, Prompt, Sampling, Usage

if TYPE_CHECKING:
    from torch import Tensor


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

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The log-likelihood, in nats, of each continuation after its context."""


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


class LogitModel(Protocol):
    """A model open down to its logits: all that decoding and scoring ask of one (see `token_model.TokenModel`)."""

    @property
    def name(self) -> str:
        """What it is called in costs and reports."""

    @property
    def tokenizer(self) -> Tokenizer:
        """From text to its tokens and back."""

    @property
    def window(self) -> int | None:
        """The most tokens a sequence may have (None: no bound)."""

    @property
    def batch_tokens(self) -> int:
        """The most tokens that one batch may hold."""

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""

    def open(self, batch: int = 1) -> Session: ...
