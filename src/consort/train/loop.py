"""One training loop: any model, any batches, any loss; killed and started again it comes to the same weights."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import torch
from torch import Tensor, nn

from consort.core.binding import bound
from consort.core.params import Range
from consort.train.state import load_state, save_state

Batch = TypeVar("Batch")
Progress = Callable[[int, float], None]
"""Called after every step with the number of steps done and the loss of the last one (nats)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained: `steps` updates at a peak learning rate of `lr`.

    `warmup` is the fraction of the steps over which the rate rises linearly from 0; then it stays (`constant`) or
    falls to 0 along half a cosine. `clip` bounds the norm of the gradient. `betas` are AdamW's, `momentum` SGD's.
    """

    steps: Annotated[int, Range(1, 100000000)]
    lr: Annotated[float, Range(0.000000000001, 1000)]
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Range(0, 0.99)] = 0.1
    betas: Sequence[Annotated[float, Range(0, 0.999999)]] = (0.9, 0.99)
    momentum: Annotated[float, Range(0, 1)] = 0.9
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    clip: Annotated[float, Range(0.000001, 1000000)] = 1.0

    def rate(self, step: int) -> float:
        """The learning rate of update number `step`, counted from 0; never 0, so that no update is wasted."""
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.lr * (step + 1) / rise
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))


bound(Recipe, "recipe")


def fit(
    model: nn.Module,
    batch: Callable[[random.Random], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    recipe: Recipe,
    *,
    seed: int | str,
    state: Path | None = None,
    every: int = 200,
    progress: Progress | None = None,
) -> float:
    """Train `model` in place and return the loss of the last step.

    Step t draws its batch from a generator seeded by (`seed`, t) alone, so that a run resumed from `state`, which is
    written every `every` steps, sees what an uninterrupted run would have seen. Only parameters that require a
    gradient are trained and stored. Raises BadCheckpoint if `state` belongs to another recipe, seed or model.
    """
    curve = fit_steps(
        model,
        lambda step: [batch(random.Random(f"{seed}:{step}"))],
        loss,
        recipe,
        label=f"{recipe} seed={seed}",
        state=state,
        every=every,
        progress=progress,
    )
    return sum(curve[-1])


def fit_steps(
    model: nn.Module,
    parts: Callable[[int], Sequence[Batch]],
    loss: Callable[[nn.Module, Batch], Tensor],
    recipe: Recipe,
    *,
    label: str,
    state: Path | None = None,
    every: int = 200,
    progress: Progress | None = None,
) -> list[tuple[float, ...]]:
    """Train `model` in place on the batches of steps 0, 1, ..; returns the learning curve, one entry a step.

    `parts(step)` is a step's batch in parts that fit into memory; the step's loss is the sum of theirs. A loss of
    several terms is a vector: its sum is minimised, each term has its place in the curve. The curve is part of the
    state, which is written every `every` steps and belongs to the run that `label` names (else BadCheckpoint).
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = _optimizer(list(parameters.values()), recipe)
    curve: list[tuple[float, ...]] = []
    if state is not None and state.exists():
        curve = load_state(state, label, parameters, optimizer)
    model.train()
    for step in range(len(curve), recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        optimizer.zero_grad(set_to_none=True)
        curve.append(_backward(model, parts(step), loss))
        nn.utils.clip_grad_norm_(parameters.values(), recipe.clip)
        optimizer.step()
        if progress is not None:
            progress(step + 1, sum(curve[-1]))
        if state is not None and (step + 1) % every == 0:
            save_state(state, label, curve, parameters, optimizer)
    model.eval()
    return curve


def shuffled(count: int, size: int, seed: int | str) -> Callable[[int], list[int]]:
    """A function from a step to the `size` of `count` items it reads: every epoch reads each once, in its own order.

    The last batch of an epoch goes on with the first items of the next, so that no batch is short.
    """

    @lru_cache(maxsize=2)
    def order(epoch: int) -> list[int]:
        items = list(range(count))
        random.Random(f"{seed}:epoch {epoch}").shuffle(items)
        return items

    return lambda step: [order(at // count)[at % count] for at in range(step * size, (step + 1) * size)]


def _backward(
    model: nn.Module, parts: Sequence[Batch], loss: Callable[[nn.Module, Batch], Tensor]
) -> tuple[float, ...]:
    """Gradients of all parts of a step; the terms of its loss."""
    terms: list[float] = []
    for part in parts:
        result = loss(model, part).reshape(-1)
        result.sum().backward()  # type: ignore[no-untyped-call]
        values = result.tolist()
        terms = [a + b for a, b in zip(terms, values, strict=True)] if terms else values
    return tuple(terms)


def _optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, foreach=False
        )
    return torch.optim.AdamW(
        parameters,
        lr=recipe.lr,
        betas=(recipe.betas[0], recipe.betas[1]),
        weight_decay=recipe.weight_decay,
        foreach=False,
    )
