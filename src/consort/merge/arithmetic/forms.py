"""What methods that sum or vote entry by entry do, as values: the engine may compute them in one pass over the bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.merge.arithmetic.votes import along, at_least, task_vector, voted


@dataclass(frozen=True, slots=True)
class Total:
    """λ Σ w_i d_i, with `normalize` divided by Σ w_i."""

    weight: Float[Tensor, "model"]
    normalize: bool
    lambda_: float = 1.0

    def __call__(self, deltas: Float[Tensor, "model *shape"]) -> Float[Tensor, "*shape"]:
        return task_vector(deltas, self.weight, normalize=self.normalize, lambda_=self.lambda_)


@dataclass(frozen=True, slots=True)
class Vote:
    """The weighted sum of what reaches its model's threshold and has the elected sign (see `votes.voted`).

    `factor`, where there is one, multiplies what a model keeps.
    """

    weight: Float[Tensor, "model"]
    threshold: Float[np.ndarray, "model"]
    elect: str
    normalize: bool
    lambda_: float = 1.0
    factor: Float[np.ndarray, "model"] | None = None

    def __call__(self, deltas: Float[Tensor, "model *shape"]) -> Float[Tensor, "*shape"]:
        kept = at_least(deltas, self.threshold)
        if self.factor is not None:
            kept *= along(torch.from_numpy(self.factor), kept)
        return voted(kept, self.weight, elect=self.elect, normalize=self.normalize, lambda_=self.lambda_)


Form = Total | Vote
