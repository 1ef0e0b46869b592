"""Search coefficients by hand: ask an optimizer for points, score the merge at each, tell it the scores."""

import torch

import consort as c
from consort import lab
from consort.evaluate import objective
from consort.models import load_model
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizers

names = ("mirror", "order", "harmful")
experts, base = [c.load(f"lab:{name}") for name in names], c.load("lab:base")
utility = objective(c.load_task(lab.path("tasks/skills")), split="dev", limit=64)
live = load_model(base)


def score(point):
    live.load_weights(c.merge("task_arithmetic", experts, base=base, weight=point))
    return utility(live)


domain = Domain([0.0] * 3, [1.0] * 3, names, starts=torch.eye(3).tolist())
for name in ("heuristic", "cma"):
    optimizer = optimizers.get(name)(domain, seed=0, **({"evaluations": 35} if name == "cma" else {}))
    tried = []
    while len(points := optimizer.ask()):
        scores = [score(point) for point in points.tolist()]
        optimizer.tell(torch.tensor(scores))
        tried += zip(scores, points.tolist(), strict=True)
    best, point = max(tried)
    found = ", ".join(f"{own} {value:.2f}" for own, value in zip(names, point, strict=True))
    print(f"{name}: {best:.3f} after {len(tried)} evaluations: {found}")
