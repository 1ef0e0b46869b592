"""Sample-level privacy in a client's trainer (Abadi et al. 2016, arXiv 1607.00133): each example's gradient is clipped.

The noised sum of clipped gradients becomes the gradient of a linear term of the loss, so the project's training loop
needs no special case.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated

import torch
from torch import Tensor

from consort.core.binding import bound
from consort.core.params import Range
from consort.federate.privacy.accountant import epsilon, gaussian_rdp


@dataclass(frozen=True, slots=True)
class SamplePrivacy:
    """Each example's gradient is drawn back to the norm `clip`; noise N(0, (z clip)^2) is added to their sum."""

    clip: Annotated[float, Range(0.000000000001, 1000000000)]
    z: Annotated[float, Range(0, 1000000)] = 0.0
    delta: Annotated[float, Range(0.000000000000001, 0.5)] = 1e-5

    def spent(self, steps: int, batch: int, samples: int) -> float:
        """Epsilon of so many steps of batches of this size, as if each were a Poisson sample."""
        if not self.z:
            return inf
        rate = min(1.0, batch / samples)
        return float(epsilon(steps * gaussian_rdp(self.z, q=rate), self.delta)[0])


bound(SamplePrivacy, "sample_privacy")


def clipped_gradient(
    losses: Sequence[Callable[[], Tensor]],
    parameters: Sequence[Tensor],
    privacy: SamplePrivacy,
    *,
    generator: torch.Generator | None = None,
) -> tuple[list[Tensor], float]:
    """The noised mean of the examples' clipped gradients, and the mean loss (nats). The noise's generator is seeded by
    the operating system unless one is given, which is for tests."""
    totals = [torch.zeros_like(p) for p in parameters]
    value = 0.0
    for loss in losses:
        own = loss()
        value += float(own.detach())
        gradients = torch.autograd.grad(own, list(parameters), allow_unused=True)
        norm = sum(float(g.double().square().sum()) for g in gradients if g is not None) ** 0.5
        factor = min(1.0, privacy.clip / norm) if norm else 1.0
        for total, gradient in zip(totals, gradients, strict=True):
            if gradient is not None:
                total += factor * gradient
    source = generator or torch.Generator().manual_seed(secrets.randbits(63))
    if privacy.z:
        for total in totals:
            total += torch.randn(total.shape, generator=source, dtype=total.dtype) * (privacy.z * privacy.clip)
    return [total / len(losses) for total in totals], value / len(losses)
