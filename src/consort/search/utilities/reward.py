"""Utilities of answers that are judged by models: reward models, preferences for length, and a judge with a number.

As in Model Swarms (2410.11163): a reward is scaled by fixed bounds and clipped to [0, 1], and the mean is maximised.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from consort.core.errors import BadParameter
from consort.core.journal import key_of
from consort.core.types import Example, Prompt, Sampling
from consort.data.task import key_of_examples
from consort.evaluate.measure import prompt_of
from consort.search.utilities.task import Row, refuse_unasked

LOW, HIGH = -3.0605, 2.65625
"""Rewards that count as 0 and 1, for internlm2-7b-reward (released code)."""
SHORT, LONG = 10, 201
"""Tokens of an answer that count as no length and as full length (released code)."""
RATING = re.compile(r"Rating:\s*(\d+(?:\.\d+)?)\s*/\s*10")
JUDGE = (
    "Rate the answer to the question on a scale from 1 to 10. Reply with `Rating: x/10`.\n\n"
    "Question: {prompt}\n\nAnswer: {answer}\n\n"
)

Reward = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Pairs of prompt and answer to raw rewards; larger is better."""
Preference = Literal["plain", "verbose", "concise", "reverse"]
Several = Literal["mean", "min", "mean-std"]


@dataclass(frozen=True, slots=True)
class Judged:
    """Mean value of a model's answers; `value` gives it for prompts, answers and their numbers of tokens.

    An answer ends after `max_tokens`, or at one of `stop`.
    """

    name: str
    examples: tuple[Example, ...]
    value: Callable[[Sequence[str], Sequence[str], Sequence[int]], Sequence[float]]
    span: tuple[float, float] = (0.0, 1.0)
    max_tokens: int = 200
    stop: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return key_of([self.name, key_of_examples(self.examples), self.max_tokens, self.stop])

    @property
    def size(self) -> int:
        return len(self.examples)

    def rows(self, model: Any, which: Sequence[int]) -> list[Row]:
        examples = [self.examples[i] for i in which]
        prompts: list[Prompt] = [prompt_of(e) for e in examples]
        answers = model.generate(prompts, Sampling(max_tokens=self.max_tokens, stop=self.stop))
        texts = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
        counts = [answer.usage.completion_tokens for answer in answers]
        values = self.value(texts, [answer.text for answer in answers], counts)
        return [(float(value), 1.0) for value in values]

    def score(self, rows: Sequence[Row]) -> float:
        return math.fsum(row[0] for row in rows) / len(rows)

    def require(self, model: Any) -> None:
        refuse_unasked(model, "generate")


def reward_utility(
    name: str,
    examples: Sequence[Example],
    rewards: Sequence[Reward],
    *,
    low: float = LOW,
    high: float = HIGH,
    several: Several = "mean",
    prefer: Preference = "plain",
    max_tokens: int = 200,
) -> Judged:
    """The reward of a model's answers, by one reward model or several.

    Each reward is (s - low) / (high - low), clipped to [0, 1]; several are combined to their mean, the smallest, or the
    mean less the standard deviation. `prefer`: "verbose" and "concise" take the mean with the length, or one minus it;
    "reverse" is the negative. `name` must tell the reward models apart. Raises BadParameter.
    """
    if not rewards or not low < high:
        raise BadParameter("needs reward models and low < high", field="reward", hint="low: -3, high: 3")
    combine = {"mean": statistics.fmean, "min": min, "mean-std": _mean_less_deviation}[several]

    def value(prompts: Sequence[str], answers: Sequence[str], tokens: Sequence[int]) -> list[float]:
        pairs = list(zip(prompts, answers, strict=True))
        each = [[scaled(s, low, high) for s in reward(pairs)] for reward in rewards]
        joint = [combine(list(column)) for column in zip(*each, strict=True)]
        return [preferred(s, n, prefer) for s, n in zip(joint, tokens, strict=True)]

    span = {"reverse": (-1.0, 0.0)}.get(prefer, (0.0, 1.0))
    if several == "mean-std":
        span = (-1.0, 1.0)
    label = key_of([name, low, high, several, prefer])
    return Judged(label, tuple(examples), value, span, max_tokens)


def judge_utility(judge: Any, examples: Sequence[Example], *, template: str = JUDGE, max_tokens: int = 200) -> Judged:
    """The mean rating, from 1 to 10, that the language model `judge` gives; an answer it does not rate counts 1."""

    def value(prompts: Sequence[str], answers: Sequence[str], tokens: Sequence[int]) -> list[float]:
        asked = [template.format(prompt=p, answer=a) for p, a in zip(prompts, answers, strict=True)]
        return [rating(reply.text) for reply in judge.generate(asked, Sampling(max_tokens=32))]

    return Judged(key_of([judge.name, template]), tuple(examples), value, (1.0, 10.0), max_tokens)


def scaled(reward: float, low: float = LOW, high: float = HIGH) -> float:
    """A raw reward on the scale from 0 to 1, clipped."""
    return min(1.0, max(0.0, (reward - low) / (high - low)))


def length_score(tokens: int) -> float:
    """How long an answer is, from 0 to 1."""
    return min(1.0, max(0.0, (tokens - SHORT) / (LONG - SHORT)))


def preferred(score: float, tokens: int, prefer: Preference) -> float:
    """A scaled reward with the preference for long or short answers, or turned round."""
    if prefer == "plain":
        return score
    if prefer == "reverse":
        return -score
    length = length_score(tokens)
    return (score + (length if prefer == "verbose" else 1 - length)) / 2


def rating(reply: str) -> float:
    """The number x in "Rating: x/10", within 1 to 10; 1 where there is none."""
    found = RATING.search(reply)
    return min(10.0, max(1.0, float(found[1]))) if found else 1.0


def _mean_less_deviation(scores: Sequence[float]) -> float:
    return statistics.fmean(scores) - statistics.pstdev(scores)
