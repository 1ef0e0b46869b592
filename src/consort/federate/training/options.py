"""How a client trains: the part of a plan that all trainers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from consort.core.binding import bound
from consort.core.params import Range
from consort.federate.local import LocalRule
from consort.train.loop import Recipe

NO_CLIP = 1e6
"""A bound of the gradient's norm that is never reached."""


@dataclass(frozen=True, slots=True)
class LocalTraining:
    """Local steps. `optimizer` None is what the aggregator asks for: AdamW, or plain gradient descent (SCAFFOLD).

    `clip_sample` bounds the gradient of each example, and `noise_sample` times it is the noise on their sum: sample-
    level differential privacy.
    """

    steps: Annotated[int, Range(1, 1000000)] = 10
    batch: Annotated[int, Range(1, 100000)] = 16
    lr: Annotated[float, Range(0.000000000001, 1000)] = 2e-5
    optimizer: Literal["adamw", "sgd"] | None = None
    schedule: Literal["cosine", "constant"] = "constant"
    warmup: Annotated[float, Range(0, 0.99)] = 0.0
    betas: Sequence[Annotated[float, Range(0, 0.999999)]] = (0.9, 0.99)
    momentum: Annotated[float, Range(0, 1)] = 0.0
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    clip: Annotated[float, Range(0.000001, 1000000)] | None = None
    clip_sample: Annotated[float, Range(0.000000000001, 1000000)] | None = None
    noise_sample: Annotated[float, Range(0, 1000000)] = 0.0

    def recipe(self, rule: LocalRule) -> Recipe:
        """The steps as the training loop takes them; plain gradient descent is not clipped unless that is asked for."""
        optimizer = self.optimizer or ("sgd" if rule.sgd else "adamw")
        clip = self.clip if self.clip is not None else 1.0 if optimizer == "adamw" else NO_CLIP
        return Recipe(
            steps=self.steps,
            lr=self.lr,
            optimizer=optimizer,
            schedule=self.schedule,
            warmup=self.warmup,
            betas=self.betas,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            clip=clip,
        )


bound(LocalTraining, "train")


def is_plain(recipe: Recipe) -> bool:
    """Whether every step is w - rate · gradient."""
    is_bare = not recipe.momentum and not recipe.weight_decay and recipe.clip >= NO_CLIP
    return recipe.optimizer == "sgd" and is_bare
