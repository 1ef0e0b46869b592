"""Routers in the field: the order of models, and very many rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consort.ensemble.before import before
from consort.ensemble.before.correctness import Correctness
from consort.ensemble.before.knn import Knn
from consort.ensemble.before.ridge import Ridge
from consort.ensemble.before.router_dc import RouterDc
from consort.ensemble.features.ngrams import gram_counts
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing import linear
from consort.ensemble.routing.alike import products, similarity, transposed
from consort.ensemble.routing.linear import out_of_fold, ridge
from consort.models import FakeModel
from consort.testing import router_laws as laws
from consort.testing.built import built


@pytest.mark.parametrize("name", list(before))
def test_C3_permuting_the_models_permutes_the_choices(name):
    laws.follows_a_permutation(laws.build_of(name))


def test_C3_columns_without_names_of_their_own():
    """Right and wrong alone, columns permuted under names that stay: who is chosen moves with its column."""
    data = laws.observed(4)
    order = [2, 0, 3, 1]
    moved = replace(data, quality=data.quality[:, order], cost=data.cost[:, order])
    options = {"steps": 60, "batch": 16, "size": 8}
    ours, theirs = (RouterDc(laws.models(4), **options).fit(seen) for seen in (data, moved))
    np.testing.assert_array_equal(np.array(order)[theirs.choose(data.queries)], ours.choose(data.queries))


def test_C3_of_equally_good_models_the_better_overall_then_the_cheaper():
    quality = np.array([[0.0, 1.0, 1.0]] * 6)
    data = Observed(("a", "b", "c"), tuple("abcdef"), quality, cost=np.tile([1.0, 3.0, 2.0], (6, 1)))
    router = Knn([FakeModel({}, name=name) for name in "abc"], k=2).fit(data)
    assert (router.choose(["x", "y"]) == 2).all()
    assert router.in_use == [2]


def many(n):
    rng = np.random.default_rng(0)
    is_red = rng.integers(0, 2, n)
    texts = [" ".join(("red" if r else "blue", *(f"w{j}" for j in row)))
             for r, row in zip(is_red, rng.integers(0, 900, (n, 6)), strict=True)]  # fmt: skip
    return Observed(("a", "b"), tuple(texts), np.stack([is_red, 1 - is_red], 1).astype(float))


@pytest.mark.parametrize("router", [Knn, Ridge])
def test_C10_of_many_rows_a_sample_decides_what_is_tuned(monkeypatch, router):
    """Beyond the bound no list of all rows by all rows is made, and what is learned is as good."""
    monkeypatch.setattr(linear, "LARGE", 300)
    for module in ("knn", "ridge"):
        monkeypatch.setattr(f"consort.ensemble.before.{module}.LARGE", 300)
        monkeypatch.setattr(f"consort.ensemble.before.{module}.CHECKED", 200)
    data, fresh = many(4000), many(4100).rows(range(4000, 4100))
    fitted = router([FakeModel({}, name=name) for name in "ab"]).fit(data)
    assert fitted.replay(fresh).quality.mean() > 0.9


def test_C10_products_of_blocks_are_the_similarities():
    rows = laws.observed().queries
    encoder = built(before, "knn", laws.models())
    found = encoder._encoder[1].rows(rows)
    np.testing.assert_allclose(products(found)(found[:9]), similarity(found[:9], transposed(found)), atol=1e-6)


def test_C10_many_queries_choose_as_each_alone():
    """Blocks of queries are multiplied as matrices, few row by row: the same neighbours."""
    data, fresh = many(900), many(1300).rows(range(900, 1300))
    for router in (
        Knn([FakeModel({}, name=name) for name in "ab"], k=7),
        Correctness([FakeModel({}, name=name) for name in "ab"], method="knn"),
    ):
        fitted = router.fit(data)
        alone = np.concatenate([fitted.predict([query]) for query in fresh.queries[:40]])
        np.testing.assert_allclose(fitted.predict(fresh.queries)[:40], alone, atol=1e-6)


def test_C10_common_features_are_solved_for_exactly(monkeypatch):
    data = many(600)
    rows = gram_counts(data.queries).astype(np.float32)
    plain = ridge(rows, data.quality, 3.0, tolerance=1e-5, steps=400)
    monkeypatch.setattr(linear, "LARGE", 100)
    quick = ridge(rows, data.quality, 3.0, tolerance=1e-5, steps=400)
    np.testing.assert_allclose(rows @ quick[0] + quick[1], rows @ plain[0] + plain[1], atol=2e-3)
    assert out_of_fold(rows, data.quality, (3.0,), np.arange(600) % 2)[3.0].shape == (600, 2)
