"""Queries on which different models are right: what strategies that have to be fitted are tried on."""

from __future__ import annotations

import numpy as np

from consort.ensemble.learning.observations import Observed

SIZE = 48


def observed(count: int = 2, seed: int = 0) -> Observed:
    """Queries of two groups; model 0 is right on sums, model 1 on words, others now and then; model 0 is dear."""
    rng = np.random.default_rng(seed)
    sums = [f"what is {a} plus {b}" for a, b in rng.integers(0, 99, (SIZE // 2, 2))]
    letters = rng.integers(97, 123, (SIZE // 2, 8))
    words = ["spell the word " + "".join(map(chr, row)) for row in letters]
    is_sum = np.arange(SIZE) < SIZE // 2
    quality = rng.random((SIZE, count)) < 0.4
    quality[:, 0], quality[:, 1] = is_sum | (rng.random(SIZE) < 0.3), ~is_sum
    cost = np.tile([5.0, *[1.0] * (count - 1)], (SIZE, 1))
    groups = tuple("sums" if s else "words" for s in is_sum)
    names = tuple(f"m{i}" for i in range(count))
    return Observed(names, (*sums, *words), quality.astype(float), cost=cost, groups=groups)
