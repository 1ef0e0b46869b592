"""A chain of models, a scorer and thresholds fitted within a budget, on answers that are given here as a table."""

import numpy as np

import consort as c
from consort.ensemble.learning.observations import Observed

# two models on 200 questions: the cheap one is right on sums and says so, the dear one is always right
easy = np.arange(200) % 5 < 3
texts = tuple(("surely 4", "4") if e else ("perhaps 4", "5") for e in easy)
quality = np.stack([easy.astype(float), np.ones(200)], axis=1)
cost = np.tile([1.0, 20.0], (200, 1))
questions = tuple(f"{'what is' if e else 'prove that'} case {i}" for i, e in enumerate(easy))
seen = Observed(("cheap", "dear"), questions, quality, texts, cost)

chain = c.frugal_gpt([c.model("lab:base"), c.model("lab:target")], budget=10.0)
fitted = chain.fit(seen.rows(range(100)))
replayed = fitted.replay(seen.rows(range(100, 200)))
print(f"quality {replayed.quality.mean():.2f} at cost {replayed.cost.mean():.1f}; dear alone 1.00 at 20.0")
print(fitted.learned.values)
