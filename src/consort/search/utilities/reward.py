"""What reward models say of the answers, as in Model Swarms (2410.11163): scaled by fixed bounds, clipped to [0, 1]."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

from consort.core.errors import BadParameter
from consort.core.journal import key_of
from consort.data.task import Task
from consort.search.utilities import utility
from consort.search.utilities.answers import AnswerObjective, Value, on_answers
from consort.weights import describe
from consort.weights.checkpoint import Checkpoint

LOW, HIGH = -3.0605, 2.65625
"""Rewards that count as 0 and 1, for internlm2-7b-reward (released code)."""
SHORT, LONG = 10, 201
"""Tokens of an answer that count as no length and as full length (released code)."""

Pairs = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Pairs of prompt and answer to raw rewards; larger is better."""
Preference = Literal["plain", "verbose", "concise", "reverse"]
Several = Literal["mean", "min", "mean-std"]


@utility(paper="2410.11163", example={"models": ["lab:reward"]})
class Reward:
    """The mean reward of a model's answers, by one reward model or several.

    Each reward is (s - low) / (high - low), clipped to [0, 1]; several are combined to their mean, the smallest, or the
    mean less the standard deviation. `prefer`: "verbose" and "concise" take the mean with the length, or one minus it;
    "reverse" is the negative. `joint` stands between prompt and answer. Raises BadParameter.
    """

    def __init__(
        self,
        models: Sequence[Checkpoint],
        *,
        low: float = -3.0605,
        high: float = 2.65625,
        several: Literal["mean", "min", "mean-std"] = "mean",
        prefer: Literal["plain", "verbose", "concise", "reverse"] = "plain",
        joint: str = " ",
    ) -> None:
        self.models, self.low, self.high = tuple(models), low, high
        self.several, self.prefer, self.joint = several, prefer, joint
        if not self.models or not low < high:
            raise BadParameter("needs reward models and low < high", field="reward", hint="low: -3, high: 3")

    def on(self, task: Task, *, split: str = "dev", limit: int | None = None, seed: int = 0) -> AnswerObjective:
        """Raises BadCheckpoint for a model that gives no reward."""
        from consort.models.judges.reward_model import RewardModel

        judges = [RewardModel(checkpoint, self.joint) for checkpoint in self.models]
        for judge in judges:
            judge.open()
        rewards = [remembered(judge) for judge in judges]
        value = reward_value(rewards, low=self.low, high=self.high, several=self.several, prefer=self.prefer)
        models = key_of([[describe(checkpoint) for checkpoint in self.models], self.joint])
        name = key_of([models, self.low, self.high, self.several, self.prefer])
        span = reward_span(self.several, self.prefer)
        return on_answers(name, value, span, task, split=split, limit=limit, seed=seed)


def reward_value(
    rewards: Sequence[Pairs],
    *,
    low: float = LOW,
    high: float = HIGH,
    several: Several = "mean",
    prefer: Preference = "plain",
) -> Value:
    """What answers are worth by raw rewards."""
    ways: dict[str, Callable[[Sequence[float]], float]] = {
        "mean": statistics.fmean,
        "min": min,
        "mean-std": _mean_less_deviation,
    }
    combine = ways[several]

    def value(prompts: Sequence[str], answers: Sequence[str], tokens: Sequence[int]) -> list[float]:
        pairs = list(zip(prompts, answers, strict=True))
        each = [[scaled(s, low, high) for s in reward(pairs)] for reward in rewards]
        together = [combine(list(column)) for column in zip(*each, strict=True)]
        return [preferred(s, n, prefer) for s, n in zip(together, tokens, strict=True)]

    return value


def reward_span(several: Several, prefer: Preference) -> tuple[float, float]:
    """Between which values they lie."""
    if several == "mean-std":
        return (-1.0, 1.0)
    return (-1.0, 0.0) if prefer == "reverse" else (0.0, 1.0)


def remembered(judge: Any) -> Pairs:
    """A reward model as a function of pairs, each of which it reads once."""
    known: dict[tuple[str, str], float] = {}

    def reward(pairs: Sequence[tuple[str, str]]) -> list[float]:
        for prompt, answer in pairs:
            if (prompt, answer) not in known:
                [known[prompt, answer]], _ = judge.rewards(prompt, [answer])
        return [known[pair] for pair in pairs]

    return reward


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


def _mean_less_deviation(scores: Sequence[float]) -> float:
    return statistics.fmean(scores) - statistics.pstdev(scores)
