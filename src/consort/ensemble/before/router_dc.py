"""RouterDC: a query encoder and model vectors trained by two contrastive losses (2409.19886).

L1 draws a query to its best models and away from its worst ones, L2 to queries of its own cluster. The paper
fine-tunes mDeBERTa (rate 5e-5); here a linear map is learned on frozen features, for which the rate is larger
(`encoder_training.py` trains an encoder before).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from jaxtyping import Float, Int

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import sketch
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

if TYPE_CHECKING:
    from torch import Generator, Tensor

MASKED = -1e9
CLUSTERS = 5


@strategy(paper="2409.19886", example={"steps": 20, "batch": 16, "size": 8})
class RouterDc(Router):
    """Take the model whose vector has the largest cosine with the query's (`cost`, `lambda`: less price).

    `top`: how many best models a query is drawn to, and as many worst ones it is driven from; `negatives`: queries of
    other clusters; `cluster_weight`: of that loss.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        top: Annotated[int, Range(1, 1000)] = 3,
        negatives: Annotated[int, Range(1, 1000)] = 3,
        cluster_weight: Annotated[float, Range(0, 1000)] = 1.0,
        steps: Annotated[int, Range(1, 1000000)] = 1000,
        batch: Annotated[int, Range(2, 100000)] = 64,
        rate: Annotated[float, Range(0, 1)] = 0.001,
        size: Annotated[int, Range(1, 4096)] = 128,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.top, self.negatives, self.cluster_weight = top, negatives, cluster_weight
        self.steps, self.batch, self.rate, self.size = steps, batch, rate, size

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        import torch

        x = sketch(rows)
        quality = torch.tensor(np.where(np.isnan(observed.quality), observed.accuracy, observed.quality))
        cluster = torch.tensor(clusters_of(x, seed))
        points, rng = torch.tensor(x), torch.Generator().manual_seed(seed)
        project = torch.nn.Parameter(torch.randn(x.shape[1], self.size, generator=rng) * x.shape[1] ** -0.5)
        vectors = torch.nn.Parameter(torch.randn(len(self.models), self.size, generator=rng))
        adam = torch.optim.AdamW([project, vectors], lr=self.rate)
        for _ in range(self.steps):
            part = torch.randint(len(x), (min(self.batch, len(x)),), generator=rng)
            hidden = torch.nn.functional.normalize(points[part] @ project, dim=1)
            cosine = hidden @ torch.nn.functional.normalize(vectors, dim=1).T
            loss = sample_model_loss(cosine, quality[part], self.top, rng)
            loss = loss + self.cluster_weight * sample_sample_loss(hidden, cluster[part], self.negatives, rng)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        unit = torch.nn.functional.normalize(vectors.detach(), dim=1).numpy()
        return Learned(self.kind, {"project": project.detach().numpy(), "vectors": unit})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        hidden = sketch(rows) @ self.learned_arrays["project"]
        length = np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-12)
        return np.asarray(hidden / length @ self.learned_arrays["vectors"].T)


def clusters_of(points: Float[np.ndarray, "n size"], seed: int) -> Int[np.ndarray, " n"]:
    """The k-means cluster of each query (section 3.3)."""
    from sklearn.cluster import KMeans

    count = min(CLUSTERS, len(np.unique(points, axis=0)))
    return np.asarray(KMeans(count, n_init=2, random_state=seed).fit(points).labels_)


def sample_model_loss(
    cosine: Float[Tensor, "b model"], quality: Float[Tensor, "b model"], top: int, rng: Generator
) -> Tensor:
    """Eq. 4: InfoNCE of each of the `top` best models against the `top` worst; which of equal ones, `rng` draws.

    A negative whose score is above one half, and a positive whose score is 0, are left out. Temperature 1.
    """
    import torch

    top = min(top, quality.shape[1] - 1) or 1
    mixed = torch.rand(quality.shape, generator=rng).argsort(1)
    order = mixed.gather(1, quality.gather(1, mixed).argsort(dim=1, descending=True, stable=True))
    best, worst = order[:, :top], order[:, -top:]
    against = cosine.gather(1, worst).masked_fill(quality.gather(1, worst) > 0.5, MASKED)
    wanted = quality.gather(1, best) > 0
    losses = [
        -torch.cat([cosine.gather(1, best[:, i : i + 1]), against], 1).log_softmax(1)[:, 0] * wanted[:, i]
        for i in range(top)
    ]
    return torch.stack(losses).sum(0).mean()


def sample_sample_loss(
    hidden: Float[Tensor, "b size"], cluster: Int[Tensor, " b"], negatives: int, rng: Generator
) -> Tensor:
    """Eq. 5: InfoNCE of each query and one of its own cluster against some of other clusters."""
    import torch

    same = cluster[:, None] == cluster
    own = same & ~torch.eye(len(cluster), dtype=torch.bool)
    usable = own.any(1) & ~same.all(1)
    if not usable.any():
        return hidden.sum() * 0
    own, other, hidden_rows = own[usable].float(), (~same[usable]).float(), hidden[usable]
    positive = torch.multinomial(own, 1, generator=rng)
    negative = torch.multinomial(other, negatives, replacement=True, generator=rng)
    cosine = hidden_rows @ hidden.T
    return -cosine.gather(1, torch.cat([positive, negative], 1)).log_softmax(1)[:, 0].mean()
