"""RouteLLM's routers on data whose right answer is known: how local the ranking is, and what noise is for."""

from __future__ import annotations

import numpy as np
import pytest

from consort.core.errors import BadParameter
from consort.ensemble.before.mf import Mf
from consort.ensemble.before.sw_ranking import SwRanking, ratings, wins_of
from consort.ensemble.learning.observations import Observed
from consort.testing.router_laws import models


def topics(rare: int, seed: int) -> Observed:
    """Many sums, which model 0 gets right, and a few words, which model 2 does; model 1 is right on a third of all."""
    rng = np.random.default_rng(seed)
    sums = [f"what is {a} plus {b}" for a, b in rng.integers(0, 999, (300, 2))]
    words = ["spell the word " + "".join(map(chr, row)) for row in rng.integers(97, 123, (rare, 8))]
    is_sum = np.arange(300 + rare) < 300
    quality = np.stack([is_sum, rng.random(300 + rare) < 1 / 3, ~is_sum], 1).astype(float)
    return Observed(("m0", "m1", "m2"), (*sums, *words), quality, groups=tuple(np.where(is_sum, "sums", "words")))


def test_over_many_models_the_ranking_is_by_weighted_points():
    rng = np.random.default_rng(0)
    quality, alike = (rng.random((40, 4)) < 0.5).astype(float), rng.random((6, 40))
    alike /= alike.max(1, keepdims=True)
    found = ratings(alike, wins_of(quality, np.arange(4), 4), 1000.0)
    # each query is a battle of every pair: with right and wrong alone, points are the weighted mean of being right
    np.testing.assert_array_equal(found.argsort(1), (1000.0**alike @ quality).argsort(1))


def test_how_local_the_ranking_is_follows_from_the_queries():
    data, fresh = topics(12, seed=0), topics(12, seed=1)
    flat, local = (SwRanking(models(3), gamma=gamma).fit(data) for gamma in (10.0, 0.0))
    assert (flat.choose(fresh.queries)[-12:] == 0).all()  # three hundred sums outweigh the nearest words
    assert local.learned.values["gamma"] > 10
    assert local.replay(fresh).quality.mean() >= 0.99
    with pytest.raises(BadParameter, match="unlike the prompt"):
        SwRanking(models(3), gamma=0.5)


def test_of_coin_flips_matrix_factorisation_learns_nothing():
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, row)) for row in rng.integers(97, 123, (300, 30))]
    flips = rng.integers(0, 2, 200).astype(float)
    data = Observed(("m0", "m1"), tuple(texts[:200]), np.stack([flips, 1 - flips], 1))

    def sureness(noise: float) -> float:
        chances = Mf(*models(), size=16, epochs=60, rate=0.003, noise=noise).fit(data).predict(texts[200:])[:, 0]
        return float(np.abs(chances - 0.5).mean())

    assert sureness(0.1) < 0.08 < 0.2 < sureness(0.0)
