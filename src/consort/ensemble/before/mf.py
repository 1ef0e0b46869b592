"""RouteLLM's matrix factorisation: a vector for each model, a projection of the prompt (2406.18665, section 4.2).

s = sigmoid(u . [(P_strong - P_weak) * (W e(x))]), model vectors of length 1, no biases. The paper's e(x) are
embeddings of a paid service; here n-grams folded into 1024 dimensions, or MiniLM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import sigmoid, sketch
from consort.ensemble.routing.router import Router, calibrated, held_against, threshold_in_use
from consort.models.base import LanguageModel


@strategy(paper="2406.18665", example={"epochs": 3, "size": 8})
class Mf(Router):
    """Ask `strong` where its estimated win rate by matrix factorisation reaches the threshold.

    `threshold` (0 always asks the strong model, above 1 never),
    else the one that sends `share` of the queries to the strong model. `size`: of the model vectors;
    `rate`: of Adam; `noise`: normal, added to each feature in training, which is what keeps a few thousand queries from
    being learned by heart. Ties count half a win.
    """

    def __init__(
        self,
        strong: LanguageModel,
        weak: LanguageModel,
        *,
        size: Annotated[int, Range(1, 4096)] = 128,
        epochs: Annotated[int, Range(1, 100000)] = 100,
        rate: Annotated[float, Range(0, 1)] = 0.0003,
        noise: Annotated[float, Range(0, 10)] = 0.1,
        threshold: Annotated[float, Range(0, 2)] | None = None,
        share: Annotated[float, Range(0, 1)] = 0.5,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__((strong, weak), features=features, state=state)
        self.strong, self.weak, self.threshold, self.share = strong, weak, threshold, share
        self.size, self.epochs, self.rate, self.noise = size, epochs, rate, noise

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        return calibrated(self.kind, partial(self.train, seed=seed), score, rows, observed, self.share, seed)

    def train(self, rows: Rows, observed: Observed, seed: int) -> dict[str, np.ndarray]:
        """The factors that explain who won, on rows of features."""
        import torch

        known = np.flatnonzero(~np.isnan(observed.quality).any(1))
        gain = observed.quality[known, 0] - observed.quality[known, 1]
        x, y = torch.tensor(sketch(rows[known])), torch.tensor((np.sign(gain) + 1) / 2, dtype=torch.float32)
        rng = torch.Generator().manual_seed(seed)
        start = [torch.randn(s, generator=rng) for s in ((2, self.size), (self.size, x.shape[1]), (self.size,))]
        models, project, read = (torch.nn.Parameter(p * s) for p, s in zip(start, SCALES, strict=True))
        # spec: weight decay 1e-5, batches of 64
        adam = torch.optim.Adam([models, project, read], lr=self.rate, weight_decay=1e-5)
        for _ in range(self.epochs):
            for part in torch.split(torch.randperm(len(x), generator=rng), 64):
                noisy = x[part] + self.noise * torch.randn(len(part), x.shape[1], generator=rng)
                unit = torch.nn.functional.normalize(models, dim=1)
                logit = ((unit[0] - unit[1]) * (noisy @ project.T)) @ read
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, y[part])
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
        unit = torch.nn.functional.normalize(models, dim=1).detach()
        return {"weight": (((unit[0] - unit[1]) * read) @ project).detach().numpy()}

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query 2"]:
        return held_against(score(self.learned_arrays, rows), threshold_in_use(self))


SCALES = (1.0, 0.3, 0.3)
"""Standard deviations that parameters start with."""


def score(arrays: Mapping[str, np.ndarray], rows: Rows) -> Float[np.ndarray, " query"]:
    """Estimated win rate; between two fixed models the factorisation is linear in the features."""
    return sigmoid(sketch(rows) @ arrays["weight"])
