"""The clients' side of an aggregator: a term of the loss that changes the gradient, and what is sent back.

Corrections are terms of the loss: the gradient of <c, w> is c and that of m/2 |w - w_0|^2 is m (w - w_0), so they
enter before the optimiser, whatever that is, and the project's own training loop needs no special case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from consort.federate.state import Memory, State


@dataclass(frozen=True, slots=True)
class Trained:
    """What local training ended with: `gradient` is the mean gradient of the data's own loss over the steps.

    `rates` is the sum of the learning rates of the `steps`; `plain` tells that every step was w - rate · gradient.
    """

    start: State
    end: State
    gradient: State
    steps: int
    rates: float
    plain: bool


class LocalRule:
    """Plain training: no term, nothing sent beside the state, nothing remembered.

    `needs_gradient` asks for `Trained.gradient`; `sgd` that plain gradient descent is the default optimiser.
    """

    needs_gradient = False
    sgd = False

    def penalty(self, now: Mapping[str, Tensor], start: State, received: State, memory: Memory) -> Tensor | None:
        """A term of the loss, a function of the parameters `now`; None for none.

        `received` is what the server sent with the state, `memory` what this client remembers.
        """
        return None

    def finish(self, trained: Trained, received: State, memory: Memory) -> tuple[State, Memory]:
        """What is sent beside the new state, and what this client remembers."""
        return {}, {}
