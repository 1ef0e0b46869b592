"""The loop under a search: an optimizer is asked for points and told their scores; here without any model."""

import torch

from consort.search.engine.domain import coefficient_domain
from consort.search.optimizers import optimizers


def score(point: list[float]) -> float:
    return -sum((x - best) ** 2 for x, best in zip(point, (0.7, 0.5, -0.2), strict=True))


domain = coefficient_domain(["a", "b", "c"])
for name in ("pso", "lorahub"):
    optimizer, best = optimizers.get(name)(domain, seed=0), (float("-inf"), [])
    while len(points := optimizer.ask()):
        scores = [score(row) for row in points.tolist()]
        best = max(best, *zip(scores, points.tolist(), strict=True))
        optimizer.tell(torch.tensor(scores, dtype=torch.float64))
    print(name, round(best[0], 5), [round(x, 2) for x in best[1]])
