"""Learned soup (Wortsman et al. 2022, arXiv 2203.05482, appendix I): mixing weights by gradient, through the merge.

alpha = softmax(a / temperature), one for each model or for each layer and model; AdamW on `a` lowers the loss of the
merged model on a few examples. The original repository has no code for it. One model's memory: see `trained.weighing`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.core.errors import BadParameter
from consort.merge import merge
from consort.merge.trained.adamerging import Tell, schedules
from consort.merge.trained.passages import Batch, Passage, drawing, forward, surprise
from consort.merge.trained.weighing import Deltas, weighed
from consort.train.loop import Recipe, fit
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import layer_of

T = TypeVar("T")
Grain = Literal["model", "layer"]
RECIPE = Recipe(steps=100, lr=0.05, schedule="cosine", warmup=0.0, betas=(0.9, 0.999))


@dataclass(frozen=True, slots=True)
class LearnedSoup:
    """Weights by tensor and model, each row summing to 1; `checkpoint` is the soup."""

    models: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    amounts: tuple[tuple[float, ...], ...]

    @property
    def checkpoint(self) -> Checkpoint:
        """A `linear` merge with these weights, so that a plan can name it."""
        return merge("linear", self.models, weight=schedules(self.names, self.amounts, self.models))


class Mixture(nn.Module):
    """alpha = softmax(a / temperature) for `rows` rows of `models` weights, equal at first."""

    def __init__(self, rows: int, models: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.a, self.temperature = nn.Parameter(torch.zeros(rows, models)), temperature

    def alpha(self) -> Float[Tensor, "row model"]:
        """The weights, which sum to 1 in each row."""
        return torch.softmax(self.a / self.temperature, -1)


def minimised(
    loss: Callable[[Float[Tensor, "row model"], T], Tensor],
    draw: Callable[[random.Random], T],
    *,
    rows: int,
    models: int,
    recipe: Recipe = RECIPE,
    temperature: float = 1.0,
    seed: int = 0,
    state: Path | None = None,
    progress: Tell | None = None,
) -> Float[Tensor, "row model"]:
    """The alpha that minimises `loss(alpha, what is drawn)`; raises BadParameter for a temperature that is none."""
    if not temperature > 0:
        raise BadParameter(f"{temperature} is no temperature", field="temperature", hint="a number above 0")
    model = Mixture(rows, models, temperature)
    label = f"learned soup {seed}"
    fit(model, draw, lambda _, drawn: loss(model.alpha(), drawn), recipe, seed=label, state=state, progress=progress)
    return model.alpha().detach()


def learned_soup(
    module: Any,
    models: Sequence[Checkpoint],
    passages: Sequence[Passage],
    *,
    grain: Grain = "model",
    recipe: Recipe = RECIPE,
    temperature: float = 1.0,
    batch: int = 32,
    seed: int = 0,
    state: Path | None = None,
    progress: Tell | None = None,
) -> LearnedSoup:
    """The soup of `models` that answers `passages` with the least cross entropy.

    `module`: a live float32 model of their shape, whose own weights do not matter (`merge.collect.at_work`). `grain`:
    one weight for each model, or for each model and layer, what lies outside the layers being one more. `batch`
    passages of each task are drawn at a step. Raises BadParameter, Incompatible.
    """
    deltas = Deltas(models, None)
    layers = sorted(
        {layer_of(name) if grain == "layer" else None for name in deltas.names}, key=lambda n: (n is None, n)
    )
    place = [layers.index(layer_of(name) if grain == "layer" else None) for name in deltas.names]
    module.requires_grad_(False)
    draw = drawing(passages, batch)

    def loss(alpha: Float[Tensor, "row model"], drawn: dict[str, Batch]) -> Tensor:
        merged = weighed(deltas, [alpha[row] for row in place])
        return torch.stack([surprise(forward(module, merged, own), own) for own in drawn.values()]).mean()

    alpha = minimised(
        loss,
        lambda rng: dict(draw(rng)),
        rows=len(layers),
        models=len(models),
        recipe=recipe,
        temperature=temperature,
        seed=seed,
        state=state,
        progress=progress,
    )
    amounts = tuple(tuple(alpha[row].tolist()) for row in place)
    return LearnedSoup(tuple(models), tuple(deltas.names), amounts)
