"""Search for a prompt in words: the server proposes, clients tell only how well it works on what they have.

Each client answers with a mean score and a count. With `epsilon` both are noised (Laplace), so that one example more
or less cannot be told; scores are in [0, 1]. Every question about the same examples is paid for.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from consort.core.binding import bound
from consort.core.errors import BadData, BadParameter
from consort.core.params import Range
from consort.core.types import Sampling
from consort.models.base import LanguageModel

logger = logging.getLogger(__name__)
PROPOSE = (
    "Improve the instruction below for an assistant. Keep its meaning and everything in curly brackets. Answer with "
    "one new instruction and nothing else.\n\nInstruction: {prompt}\n\nNew instruction:"
)


class Grading(Protocol):
    """A client: the mean score in [0, 1] of a prompt on its own examples, and how many these are."""

    @property
    def id(self) -> str: ...

    def grade(self, prompt: str) -> tuple[float, int]: ...


@dataclass(frozen=True, slots=True)
class PromptSearch:
    """`rounds` of `proposals`. `epsilon` is spent in all, shared evenly over the questions each client answers."""

    rounds: Annotated[int, Range(1, 1000)] = 5
    proposals: Annotated[int, Range(1, 1000)] = 8
    temperature: Annotated[float, Range(0, 10)] = 1.0
    max_tokens: Annotated[int, Range(1, 100000)] = 128
    epsilon: Annotated[float, Range(0.000001, 1000000)] | None = None
    seed: Annotated[int, Range(0, 4294967295)] = 0


bound(PromptSearch, "prompt_search")


@dataclass(frozen=True, slots=True)
class Graded:
    """A prompt and its weighted mean score over the clients that answered."""

    prompt: str
    score: float
    clients: int


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    """The best prompt, all that were tried, and the epsilon that each client has spent (0 without noise)."""

    best: Graded
    tried: Sequence[Graded] = field(default_factory=tuple)
    epsilon: float = 0.0


def prompt_search(
    start: str,
    clients: Sequence[Grading],
    proposer: LanguageModel,
    options: PromptSearch = PromptSearch(),
    *,
    noise: Callable[[float], float] | None = None,
) -> FoundPrompt:
    """Search from the prompt `start`, which stays a candidate: the result is never graded worse than it.

    `noise(scale)` draws Laplace noise; by default from the operating system. Raises BadData where no client answers.
    """
    if not clients:
        raise BadParameter("nobody can grade", field="clients", hint="give at least one client")
    questions = 1 + options.rounds * options.proposals
    share = None if options.epsilon is None else options.epsilon / questions
    draw = noise or _laplace
    best = _graded(start, clients, share, draw)
    tried, asked = [best], {start}
    for number in range(options.rounds):
        sampling = Sampling(options.max_tokens, options.temperature, seed=options.seed + number)
        prompts = [PROPOSE.format(prompt=best.prompt)] * options.proposals
        proposed = [answer.text.strip() for answer in proposer.generate(prompts, sampling)]
        for prompt in dict.fromkeys(text for text in proposed if text and text not in asked):
            asked.add(prompt)
            tried.append(_graded(prompt, clients, share, draw))
        best = max(tried, key=lambda graded: graded.score)
    spent = 0.0 if share is None else share * len(tried)
    return FoundPrompt(best, tuple(tried), spent)


def _graded(prompt: str, clients: Sequence[Grading], epsilon: float | None, noise: Callable[[float], float]) -> Graded:
    total, whole, answered = 0.0, 0.0, 0
    for client in sorted(clients, key=lambda client: client.id):
        try:
            score, count = client.grade(prompt)
        except Exception as fault:
            logger.warning("%s could not grade a prompt: %s", client.id, type(fault).__name__)
            continue
        if not (math.isfinite(score) and 0 <= score <= 1 and count >= 1):
            logger.warning("%s is left out: it tells of a score of %r on %r examples", client.id, score, count)
            continue
        own, weight = score * count, float(count)
        if epsilon is not None:  # half for the sum of scores, half for the count; one example changes each by at most 1
            own, weight = own + noise(2 / epsilon), max(1.0, weight + noise(2 / epsilon))
        total, whole, answered = total + own, whole + weight, answered + 1
    if not answered:
        raise BadData("no client could grade the prompt", field="clients", hint="see the warnings")
    return Graded(prompt, total / whole, answered)


def _laplace(scale: float) -> float:
    """Laplace noise from the operating system's randomness."""
    source = random.SystemRandom(secrets.randbits(32))
    uniform = source.random() - 0.5
    return -scale * math.copysign(math.log1p(-2 * abs(uniform)), uniform)
