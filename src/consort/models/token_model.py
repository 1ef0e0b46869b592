"""Token models: open down to their logits; generate, stream and score follow from `open`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float

from consort.core.types import Completion, Prompt, Sampling
from consort.models.base import Session, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from consort.models.decoding.decode import Cancel


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
        """The models that it asks."""
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
