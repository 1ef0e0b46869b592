"""Each router against its paper: values by hand, edges, brute force on small cases."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch

from consort.core.errors import BadData, BadParameter
from consort.ensemble.before.category import Category
from consort.ensemble.before.causal_score import CausalScore, points_in
from consort.ensemble.before.correctness import Correctness
from consort.ensemble.before.forc import Forc, assign, price_of_money
from consort.ensemble.before.hybrid import at_least, best_slack, labels_of, samples_of, spread
from consort.ensemble.before.knn import Knn
from consort.ensemble.before.length import Length
from consort.ensemble.before.random import Random
from consort.ensemble.before.router_dc import sample_model_loss, sample_sample_loss
from consort.ensemble.before.sw_ranking import bradley_terry, tiers_of
from consort.ensemble.before.tryage import Tryage
from consort.ensemble.before.zooter import smoothed
from consort.ensemble.features.ngrams import Tfidf
from consort.ensemble.routing.linear import out_of_fold, ridge, softmax_regression
from consort.models import FakeModel
from consort.testing.router_laws import models, observed


def test_features_are_unit_rows_and_survive_their_state():
    texts = ["What is 2 + 2?", "你好吗", "", "What is 2 + 3?"]
    encoder = Tfidf.fitted(texts)
    rows = encoder.rows(texts)
    np.testing.assert_allclose(np.sqrt(rows.multiply(rows).sum(1)).A1, [1, 1, 0, 1], atol=1e-6)
    assert (Tfidf(encoder.arrays()["idf"]).rows(texts) != rows).nnz == 0


def test_ridge_by_two_ways_and_by_formula():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(40, 5)).astype(np.float32), rng.normal(size=(40, 2)), rng.random(40) + 0.5
    coefficients, intercept = ridge(x, y, 2.0, w, tolerance=1e-6)
    m = w / w.sum()
    xc, yc = x - m @ x, y - m @ y
    exact = np.linalg.solve((xc.T * w) @ xc + 2 * np.eye(5), (xc.T * w) @ yc)
    np.testing.assert_allclose(coefficients, exact, atol=1e-4)
    np.testing.assert_allclose(intercept, m @ y - m @ x @ exact, atol=1e-4)
    fold = np.arange(40) % 4
    seen = fold != 1
    c1, i1 = ridge(x[seen], y[seen], 2.0, w[seen], tolerance=1e-6)
    np.testing.assert_allclose(out_of_fold(x, y, (2.0,), fold, w)[2.0][fold == 1], x[fold == 1] @ c1 + i1, atol=1e-3)


def test_neighbours_all_and_one():
    data = observed()
    everywhere = Knn(models(), k=len(data)).fit(data)
    assert (everywhere.choose(["anything at all"]) == data.best).all()
    nearest = Knn(models(), k=1).fit(data)
    expected = data.quality.argmax(1)
    np.testing.assert_array_equal(nearest.choose(data.queries), expected)


def test_neighbours_never_choose_who_is_nowhere_better():
    data = observed(4, seed=2)
    quality = data.quality.copy()
    quality[:, 2], quality[:, 3] = quality[:, 0] * quality[:, 2], quality[:, 1]
    data = replace(data, quality=quality)
    router = Knn(models(4), k=7).fit(data)
    assert router.in_use == [0, 1]
    assert set(router.choose(data.queries)) <= {0, 1}
    smaller = Knn(models(2), k=7).fit(data.columns([0, 1]))
    np.testing.assert_array_equal(smaller.choose(data.queries), router.choose(data.queries))
    assert Knn(models(4), k=7, lambda_=0.1).fit(data).in_use == [0, 1, 2]  # the first is dear
    assert Random(models(4)).in_use == [0, 1, 2, 3]


def test_category_needs_groups():
    with pytest.raises(BadData, match="no groups"):
        Category(models()).fit(replace(observed(), groups=()))


def test_zooter_smoothing_and_its_loss():
    data = observed()
    np.testing.assert_array_equal(smoothed(data, 1.0), data.quality)
    means = smoothed(data, 0.0)
    np.testing.assert_allclose(means[0], data.quality[np.array(data.groups) == "sums"].mean(0))
    assert (means[:24] == means[0]).all()
    # two kinds of rows and targets that a softmax reaches exactly: KL goes to 0
    target = np.array([[0.7, 0.3], [0.2, 0.8]] * 4)
    weight, intercept = softmax_regression(np.eye(2, dtype=np.float32)[[0, 1] * 4], target, 0.0, steps=200)
    found = np.exp(weight + intercept) / np.exp(weight + intercept).sum(1, keepdims=True)
    np.testing.assert_allclose(found, target[:2], atol=1e-3)


def test_hybrid_labels():
    one = [(np.array([1.0]), np.array([0.0])), (np.array([1.0]), np.array([1.0]))]
    assert labels_of(one, "det") == labels_of(one, "prob") == [0.0, 1.0]
    many = [(np.array([0.9, 0.8]), np.array([0.5, 0.85])), (np.array([0.6, 0.4]), np.array([0.1, 0.2]))]
    assert at_least(many, 0.0) == [0.25, 0.0] == labels_of(many, "prob")
    slack = best_slack(many)
    values = {t: spread(np.array(at_least(many, t))) for t in np.linspace(0, 1, 101)}
    assert spread(np.array(at_least(many, slack))) >= max(values.values()) - 1e-12
    assert spread(np.array([0.0, 1.0, 1.0])) == pytest.approx(4 / 9)
    data = observed()
    first, samples = samples_of(data.rows([0, 1, 0]))
    assert first == [0, 1] and len(samples[0][0]) == 2


def test_a_higher_threshold_costs_less():
    data = observed()
    costs = [Length(*models(), threshold=t).replay(data).cost.mean() for t in (0, 15, 18, 21, 99)]
    assert costs == sorted(costs, reverse=True) and costs[0] == 5 and costs[-1] == 1


def test_router_dc_with_equal_scores_has_no_nan():
    cosine = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    for value in (0.0, 0.4, 1.0):
        loss = sample_model_loss(cosine, torch.full((1, 3), value), 3, torch.Generator())
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(cosine.grad).all()
    hidden = torch.eye(3)
    assert sample_sample_loss(hidden, torch.zeros(3, dtype=torch.int64), 2, torch.Generator()) == 0


def test_router_dc_loss_by_hand():
    cosine, quality, rng = torch.tensor([[0.5, -0.5]]), torch.tensor([[1.0, 0.0]]), torch.Generator()
    assert float(sample_model_loss(cosine, quality, 1, rng)) == pytest.approx(np.log(1 + np.exp(-1.0)))
    assert float(sample_model_loss(cosine, torch.tensor([[1.0, 0.9]]), 1, rng)) == pytest.approx(0)  # masked negative


def test_three_wins_to_one_are_190_points():
    rating = bradley_terry(np.array([[0.0, 3], [1, 0]]))
    assert rating[0] - rating[1] == pytest.approx(190.8485, abs=1e-3)
    many = bradley_terry(np.array([[0.0, 3, 9], [1, 0, 3], [1, 1, 0]]))
    assert many[0] - many[1] == pytest.approx(190.8485, abs=0.5) and many.mean() == pytest.approx(0)


@pytest.mark.parametrize("seed", range(8))
def test_tiers_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    values, most = rng.random(rng.integers(2, 9)), int(rng.integers(1, 5))

    def deviation(tiers):
        groups = (values[np.array(tiers) == t] for t in set(tiers))
        return sum(((g - g.mean()) ** 2).sum() for g in groups)

    order = np.sort(values)
    options = (
        [int(np.searchsorted(cuts, i, side="right")) for i in range(len(order))]
        for cuts in combinations(range(1, len(order)), min(most, len(order)) - 1)
    )
    values_in_order = values.copy()
    values = order
    best = min(deviation(tiers) for tiers in options)
    values = values_in_order
    found = tiers_of(values.tolist(), most)
    assert deviation(found) == pytest.approx(best, abs=1e-12)
    assert all(a <= b for a, b in zip(np.array(found)[np.argsort(values)], sorted(found), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_assignment_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    value, cost, budget = rng.random((4, 2)), rng.random((4, 2)), rng.random() * 2
    best = 0.0
    for choice in product((-1, 0, 1), repeat=4):
        taken = [(i, m) for i, m in enumerate(choice) if m >= 0]
        if sum(cost[t] for t in taken) <= budget:
            best = max(best, sum(value[t] for t in taken))
    chosen = assign(value, cost, budget)
    taken = [(i, m) for i, m in enumerate(chosen) if m >= 0]
    assert sum(value[t] for t in taken) == pytest.approx(best)
    assert sum(cost[t] for t in taken) <= budget + 1e-9


def test_assignment_at_its_bounds_and_relaxed():
    rng = np.random.default_rng(0)
    value, cost = rng.random((1100, 2)), np.tile([0.2, 1.0], (1100, 1))
    assert (assign(value[:5], cost[:5], 0.0) == -1).all()
    np.testing.assert_array_equal(assign(value[:5], cost[:5], 99.0), value[:5].argmax(1))
    chosen = assign(value, cost, 400.0)
    taken = np.flatnonzero(chosen >= 0)
    assert cost[taken, chosen[taken]].sum() <= 400
    # no assignment is worth more than the Lagrangian dual; the rounded relaxation lacks at most one query
    dual = min(400 * y + np.maximum(value - y * cost, 0).max(1).sum() for y in np.linspace(0, 2, 401))
    assert dual - 1 <= value[taken, chosen[taken]].sum() <= dual + 1e-6


def test_the_price_of_money_keeps_the_budget():
    data = observed()
    loose, tight = (Forc(models(), budget=b).fit(data) for b in (5.0, 1.5))
    assert loose.learned_values["money"] == 0
    spent = tight.replay(data).cost.mean()
    assert spent <= 1.5 + 1e-9 and (tight.choose(data.queries) == 0).any()
    with pytest.raises(BadParameter, match="buys no answer"):
        price_of_money(data.quality, data.cost, 0.5)


def test_tryage_weighs_penalties():
    data = observed()
    free = Tryage(models()).fit(data).choose(data.queries)
    assert 0 < free.mean() < 1
    assert (Tryage(models(), penalty=[9, 0]).fit(data).choose(data.queries) == 1).all()
    with pytest.raises(BadParameter, match="1 penalty for 2 models"):
        Tryage(models(), penalty=[1])


@pytest.mark.parametrize("options", [{"method": "knn", "k": 5}, {"chance": "thresholded"}])
def test_other_ways_to_be_right(options):
    data, fresh = observed(), observed(seed=1)
    router = Correctness(models(), **options).fit(data)
    assert router.replay(fresh).quality.mean() >= 0.95


def test_the_scorer_is_read_and_paid():
    judge = FakeModel(lambda text: "I say 2" if "hard" in text else "5", name="judge")
    router = CausalScore(*models(), scorer=judge)
    hard, easy = router.generate(["a hard one", "an easy one"])
    assert (hard.text, easy.text) == ("m0 answers", "m1 answers")
    assert set(hard.cost) == {"m0", "judge"}
    assert [points_in(t) for t in ("4", "none", "0 then 3")] == [4, 1, 3]
    with pytest.raises(BadParameter, match="has no {prompt}"):
        CausalScore(*models(), scorer=judge, template="how hard?")


def test_costs_are_checked():
    with pytest.raises(BadParameter, match="no costs of 2 models"):
        Knn(models(), cost=[1])
    with pytest.raises(BadParameter, match="no models"):
        Knn([])
