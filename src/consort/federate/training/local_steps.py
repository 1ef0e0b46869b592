"""Local training on the project's loop: a loss, the aggregator's term of it, and what came out.

Where each example's gradient must be clipped, or the mean gradient is asked for, gradients are computed here and given
to the loop as the gradient of a linear term: the loop itself has no special case.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from consort.core.errors import BadParameter
from consort.federate.clients.client import Fitted
from consort.federate.local import LocalRule, Trained
from consort.federate.privacy.sample_level import SamplePrivacy, clipped_gradient
from consort.federate.state import Memory, State
from consort.federate.training.options import LocalTraining, is_plain
from consort.federate.training.weights import Weights, now_of, state_of
from consort.models.hf.quiet import quiet
from consort.train.loop import fit_steps, shuffled

Item = TypeVar("Item")
logger = logging.getLogger(__name__)


@dataclass
class LocalSteps(Generic[Item]):
    """Steps over `items`: `loss(module, items)` is the mean loss (nats) of some of them."""

    weights: Weights
    items: Sequence[Item]
    loss: Callable[[nn.Module, Sequence[Item]], Tensor]
    options: LocalTraining

    def run(self, state: State, rule: LocalRule, received: State, memory: Memory, *, seed: int) -> Fitted:
        """Train from `state`. Raises BadParameter where the loss is no number any more."""
        self.weights.load(state)
        recipe = self.options.recipe(rule)
        plain = is_plain(recipe) and set(self.weights.scales.values()) <= {1.0}
        if rule.needs_gradient and recipe.optimizer != "sgd":
            logger.warning("control variates with %s: the mean gradient stands for the exact rule", recipe.optimizer)
        start = state_of(self.weights)
        step = _Step(self, rule, start, received, memory, needs_gradient=rule.needs_gradient and not plain)
        order = shuffled(len(self.items), min(self.options.batch, len(self.items)), f"{seed}:local")
        with quiet():
            curve = fit_steps(
                self.weights.module, lambda number: [order(number)], step, recipe, label="local", progress=_finite
            )
        rates = sum(recipe.rate(number) for number in range(recipe.steps))
        gradient = {name: total / recipe.steps for name, total in step.gradient.items()}
        done = Trained(start, state_of(self.weights), gradient, recipe.steps, rates, plain)
        return Fitted(done, {"loss": curve[0][0], "last_loss": curve[-1][0]} | self._spent())

    def _spent(self) -> dict[str, float]:
        if self.options.clip_sample is None or not self.options.noise_sample:
            return {}
        privacy = SamplePrivacy(self.options.clip_sample, self.options.noise_sample)
        return {"epsilon_of_round": privacy.spent(self.options.steps, self.options.batch, len(self.items))}


class _Step(Generic[Item]):
    """The loss of one step, as the loop asks for it: the data's own and the rule's term, told apart."""

    def __init__(
        self,
        steps: LocalSteps[Item],
        rule: LocalRule,
        start: State,
        received: State,
        memory: Memory,
        *,
        needs_gradient: bool,
    ) -> None:
        self.steps, self.rule = steps, rule
        self.start, self.received, self.memory = start, received, memory
        self.needs_gradient = needs_gradient
        self.gradient: dict[str, Tensor] = {}

    def __call__(self, module: nn.Module, numbers: Sequence[int]) -> Tensor:
        items = [self.steps.items[i] for i in numbers]
        clip = self.steps.options.clip_sample
        if clip is not None or self.needs_gradient:
            own = self._with_gradient(module, items, clip)
        else:
            own = self.steps.loss(module, items)
        extra = self.rule.penalty(now_of(self.steps.weights), self.start, self.received, self.memory)
        return own.reshape(1) if extra is None else torch.stack([own, extra.to(own)])

    def _with_gradient(self, module: nn.Module, items: Sequence[Item], clip: float | None) -> Tensor:
        """A number equal to the loss whose gradient is the (clipped, noised) mean gradient."""
        parameters = self.steps.weights.parameters
        loss = self.steps.loss
        if clip is None:
            value = loss(module, items)
            found = torch.autograd.grad(value, list(parameters.values()))
            gradients, mean = list(found), float(value.detach())
        else:
            privacy = SamplePrivacy(clip, self.steps.options.noise_sample)
            losses = [lambda item=item: loss(module, [item]) for item in items]
            gradients, mean = clipped_gradient(losses, list(parameters.values()), privacy)
        linear: Tensor = torch.zeros(())
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
            linear = linear + (parameter * gradient).sum()
            part = gradient.double() / self.steps.weights.scales.get(name, 1.0)
            self.gradient[name] = self.gradient.get(name, torch.zeros_like(part)) + part
        return linear - linear.detach() + mean


def _finite(step: int, loss: float) -> None:
    if loss != loss or loss in (float("inf"), float("-inf")):
        what = f"is too large: at step {step} the loss is not finite"
        raise BadParameter(what, field="train.lr", hint="take a smaller learning rate")
