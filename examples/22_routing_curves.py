"""What a router between a strong and a weak model is worth, over all thresholds at once."""

import numpy as np

from consort.ensemble.routing.cost_quality import aiq, apgr, cpt, hull

rng = np.random.default_rng(0)
difficulty = rng.random(500)
strong = (rng.random(500) > 0.3 * difficulty).astype(float)
weak = (rng.random(500) > 0.9 * difficulty).astype(float)
for name, score in {"random": rng.random(500), "difficulty": difficulty, "perfect": strong - weak}.items():
    print(f"{name:10}  APGR {apgr(score, strong, weak):.3f}  half the gap: {cpt(score, strong, weak, 0.5):.0%}")
points = [(1.0, weak.mean()), (3.0, 0.75), (10.0, strong.mean())]
print("hull", [(c, round(float(q), 3)) for c, q in hull(points)], "AIQ", round(aiq(points), 3))
