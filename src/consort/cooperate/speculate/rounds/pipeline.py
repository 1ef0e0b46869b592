"""From logits to the distribution that tokens are drawn from: one object for target and draft, and keyed numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.core.types import Sampling
from consort.models.decoding.sampling import adjusted, distribution, draw, uniform


class Prefix(NamedTuple):
    """What comes before a token: the key of the answer's random numbers, the prompt, and the answer so far."""

    key: bytes
    prompt: Sequence[int]
    answer: Sequence[int]


Prefixes = Callable[[], Sequence[Prefix]]
"""What comes before each row of logits; made only if a processor wants to see it."""

Process = Callable[[Tensor, Sequence[Prefix]], Tensor]
"""Logits `row vocab` and what comes before each row to other logits, e.g. with a penalty for repetitions."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Pure: the same logits after the same tokens always give the same distribution.

    Penalties, or `process` in their place, come before the other transforms of `sampling`; at a draft's positions they
    see the tokens of the draft so far, without which the rejection rule would compare two unrelated distributions.
    `ends` are the tokens that end an answer.
    """

    sampling: Sampling
    process: Process | None = None
    ends: frozenset[int] = frozenset()

    @property
    def greedy(self) -> bool:
        return self.sampling.temperature == 0

    def scores(self, logits: Float[Tensor, "row vocab"], prefixes: Prefixes) -> Float[Tensor, "row vocab"]:
        if self.process is not None:
            return self.process(logits, prefixes())
        if not self.sampling.adjusts:
            return logits
        before = prefixes()
        return adjusted(logits, self.sampling, [p.prompt for p in before], [p.answer for p in before], self.ends)

    def probabilities(self, logits: Float[Tensor, "row vocab"], prefixes: Prefixes) -> Float[Tensor, "row vocab"]:
        return self.transformed(self.scores(logits, prefixes))

    def transformed(self, scores: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
        """Processed logits after temperature and cuts."""
        return distribution(scores, self.sampling)

    def choose(
        self, logits: Float[Tensor, "row vocab"], prefixes: Prefixes, numbers: Callable[[], Sequence[float]]
    ) -> Int[Tensor, " row"]:
        """The tokens that plain decoding would draw with these numbers (greedy needs none)."""
        if self.greedy:
            return self.scores(logits, prefixes).argmax(-1)
        return draw(self.probabilities(logits, prefixes), numbers())


Purpose = Literal["draft", "accept", "residual"]


def number(row: bytes, position: int, purpose: Purpose, child: int = 0) -> float:
    """A number in [0, 1) for one decision at token number `position` of the answer with this key.

    It depends on nothing else, so a row is independent of its neighbours in the batch. What plain decoding would draw
    at a position uses `sampling.uniform` itself: deterministic drafts then give the very text of plain decoding.
    """
    return uniform(blake2b(f"{purpose} {child}".encode(), key=row, digest_size=16).digest(), position)


def derived(row: bytes, stage: str) -> bytes:
    """A key for a process of its own inside an answer, e.g. the drafting of a draft."""
    return blake2b(stage.encode(), key=row, digest_size=16).digest()


def widened(logits: Float[Tensor, "row have"], width: int) -> Float[Tensor, "row width"]:
    """The same tokens in a table of another height: cut, or filled up with tokens of no probability."""
    if logits.shape[-1] >= width:
        return logits[:, :width]
    full = torch.full((len(logits), width), -torch.inf, dtype=logits.dtype, device=logits.device)
    full[:, : logits.shape[-1]] = logits
    return full
