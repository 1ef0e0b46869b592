"""A federation small enough for tests: clients with quadratic losses, and one with a tiny model."""

from __future__ import annotations

import pytest
import torch

from consort.federate import Update
from consort.federate.clients.client import CallableClient, Fitted, LocalClient
from consort.federate.local import Trained


class Quadratic:
    """A trainer of h/2 |x - m|^2 by gradient descent, with whatever term the rule adds."""

    def __init__(self, curvature: float, minimum: float, samples: int = 1, steps: int = 5, lr: float = 0.05) -> None:
        self.curvature, self.minimum, self.samples, self.steps, self.lr = curvature, minimum, samples, steps, lr

    def train(self, state, rule, received, memory, *, seed):
        now = {name: value.clone().requires_grad_() for name, value in state.items()}
        first = None
        for _ in range(self.steps):
            loss = sum(self.curvature / 2 * (v - self.minimum).square().sum() for v in now.values())
            first = float(loss.detach()) if first is None else first
            extra = rule.penalty(now, state, received, memory)
            found = torch.autograd.grad(loss if extra is None else loss + extra, list(now.values()))
            now = {n: (v - self.lr * g).detach().requires_grad_() for (n, v), g in zip(now.items(), found, strict=True)}
        end = {name: value.detach() for name, value in now.items()}
        return Fitted(Trained(dict(state), end, {}, self.steps, self.steps * self.lr, True), {"loss": first})


@pytest.fixture
def quadratic():
    return Quadratic


@pytest.fixture
def start():
    return {"w": torch.zeros(6), "b": torch.ones(2, 3)}


@pytest.fixture
def quadratic_clients():
    def make(count: int = 5) -> list[LocalClient]:
        return [LocalClient(f"c{i}", Quadratic(1 + i % 3, i / 2, samples=i + 1)) for i in range(count)]

    return make


@pytest.fixture
def adding():
    """A client that adds a number to everything, or does what it is told to."""

    def make(id: str, value: float = 1.0, samples: int = 1, act=None) -> CallableClient:
        def fit(state, task):
            if act is not None:
                return act(state, task)
            return Update(id, {name: tensor + value for name, tensor in state.items()}, samples=samples)

        return CallableClient(id, fit)

    return make
