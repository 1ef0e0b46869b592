"""What a detector is given and what it says: an answer with what is known beside it, and how far it is to be doubted.

Larger is worse here, alone in consort: a doubt of 0 says that nothing speaks against an answer, 1 that all does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jaxtyping import Float

from consort.core.types import Usage

if TYPE_CHECKING:
    import numpy as np

NEEDS = ("prompt", "source", "samples", "logprobs", "sample_logprobs")
"""What a detector may need of a case beside the answer."""


@dataclass(frozen=True, slots=True)
class Case:
    """An answer to be judged.

    `source` is the text that it must be faithful to; `samples` are other answers to the same prompt, of the same model
    or of others; `logprobs` the log-probabilities (nats) of the answer's tokens and `sample_logprobs` those of each
    sample's, None where they are not known. `details` is what the answer's model told (`Completion.details`).
    """

    answer: str
    prompt: str = ""
    source: str = ""
    samples: tuple[str, ...] = ()
    logprobs: tuple[float, ...] | None = None
    sample_logprobs: tuple[tuple[float, ...], ...] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def has(self, need: str) -> bool:
        """Whether it has what a detector needs of it."""
        found = getattr(self, need)
        return found is not None and len(found) > 0


@dataclass(frozen=True, slots=True)
class Quote:
    """A piece of evidence: where it stands, and how strongly (in [-1, 1], below 0: against) it speaks for a span."""

    text: str
    source: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Doubted:
    """The part [start, end) of an answer, in characters, and its own doubt; None where nothing is known."""

    start: int
    end: int
    doubt: float | None
    evidence: tuple[Quote, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector says of an answer.

    `doubt` in [0, 1], None where nothing can be said (`notes` tell why); `raw` the quantity of the paper, on its own
    scale; `spans` the sentences or claims; `revised` a better text where the detector has one. `cost` is the work of
    every model that it asked, by name.
    """

    doubt: float | None
    raw: float | None = None
    spans: tuple[Doubted, ...] = ()
    revised: str | None = None
    notes: tuple[str, ...] = ()
    cost: Mapping[str, Usage] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Detector(Protocol):
    """Cases to findings, in order, one for each. `needs` are the parts of a case (of `NEEDS`) that it works from."""

    name: str
    needs: tuple[str, ...]

    def detect(self, cases: Sequence[Case]) -> list[Finding]: ...


class PairScorer(Protocol):
    """How a hypothesis follows from a premise: rows of P(entailment), P(neutral), P(contradiction).

    `name` stands for it in the cost; `key` names all that its scores depend on.
    """

    name: str
    key: str

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Float[np.ndarray, "pair 3"]: ...

    def spent(self) -> Usage:
        """What it has done since it was last asked this."""
