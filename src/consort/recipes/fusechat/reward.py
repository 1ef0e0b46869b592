"""What is a good answer in a fusion by preference: a reward model's opinion, or agreement with the prompt's target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from consort.distil.corpus import Asked
from consort.evaluate.registry import find_metric
from consort.models.judges.reward_model import RewardModel
from consort.plan.build import Builder
from consort.plan.fuse.plan import FusePlan
from consort.weights import Checkpoint
from consort.weights.stats import fingerprint


@dataclass(frozen=True, slots=True)
class Judge:
    """A reward, what tells it from others, and the defaults that go with its scale.

    `gap` bounds the scores of a pair, `least` is the score from which on an answer is learnt.
    """

    reward: Callable[[Asked, str], float]
    key: str
    gap: tuple[float, float]
    least: float


def judge_of(plan: FusePlan, builder: Builder) -> Judge:
    """The reward that a plan names. Raises BadCheckpoint for a folder that is no reward model."""
    node, options = plan.reward_model, plan.prefer
    made = _by_metric(plan.settings.reward) if node is None else _by_model(builder.build(node, "checkpoint"))
    gap = made.gap if options.gap is None else (options.gap[0], options.gap[1])
    return Judge(made.reward, made.key, gap, made.least if options.least is None else options.least)


def _by_metric(name: str) -> Judge:
    metric = find_metric(name)

    def reward(asked: Asked, answer: str) -> float:
        score, weight = metric.statistics(answer, asked.example)
        return score / weight

    return Judge(reward, name, (0.01, 1.0), 0.5)


def _by_model(checkpoint: Checkpoint) -> Judge:
    judge = RewardModel(checkpoint)
    judge.open()

    def reward(asked: Asked, answer: str) -> float:
        (score,), _ = judge.rewards(asked.prompt, [answer.strip()])
        return score

    return Judge(reward, fingerprint(checkpoint), (0.01, 0.1), -math.inf)
