"""Choosing among routers: the bound, the laws of the test, what `consort fit` writes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from consort.core.errors import BadParameter
from consort.ensemble.before.auto_router import AutoRouter
from consort.ensemble.learning.fitting import fit_gated, load_learned, save_learned, with_learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.choice import Remembered, Rules, Variant, decided, standard_error, variants
from consort.ensemble.routing.loss_bound import certain_margin, loss_bound, normal_tail, worst_loss
from consort.runs import fit as fit_verb
from consort.testing.router_laws import models, observed

QUICK = {"candidates": ["category", "knn"], "repeats": 1}


def many(count: int = 2, parts: int = 4) -> Observed:
    """192 queries on which different models are right."""
    data = [observed(count, seed) for seed in range(parts)]
    joined = [sum((getattr(d, field) for d in data), ()) for field in ("prompts", "groups")]
    cost = np.concatenate([d.cost for d in data])
    return Observed(data[0].models, joined[0], np.concatenate([d.quality for d in data]), cost=cost, groups=joined[1])


def shuffled(data: Observed) -> Observed:
    """The same queries with answers that have nothing to do with them."""
    rows = np.random.default_rng(0).permutation(len(data))
    return replace(data, quality=data.quality[rows])


def test_numbers_of_the_bound():
    expected = {0.0: 0.169971, 1.0: 0.033417, 1.645: 0.008175, 2.326: 0.001305}
    for c, value in expected.items():
        assert worst_loss(c) == pytest.approx(value, abs=1e-6)
        grid = np.linspace(0, 4, 4001)
        assert worst_loss(c) == pytest.approx(max(x * normal_tail(c + x) for x in grid), abs=1e-6)
    assert loss_bound(5, 1.0, 0.3 / 500**0.5) == pytest.approx(0.002242, abs=1e-6)
    assert certain_margin(500, 5, 0.05) == pytest.approx(0.135723, abs=1e-6)


@pytest.mark.parametrize(("correlation", "expected"), [(0.0, 0.1464), (0.9, 0.0611)])
def test_the_bound_holds_at_the_worst_differences(correlation, expected):
    rng, draws, worst = np.random.default_rng(0), 400_000, -0.513
    shared = rng.standard_normal((draws, 1)) * correlation**0.5
    found = worst + shared + rng.standard_normal((draws, 5)) * (1 - correlation) ** 0.5
    loss = -worst * (found.max(1) > 1.0).mean()
    assert loss == pytest.approx(expected, abs=2e-3)
    assert loss <= loss_bound(5, 1.0, 1.0) == pytest.approx(0.1671, abs=1e-4)


def test_standard_errors_count_folds_and_equal_prompts():
    d = np.array([1.0, -1.0, 1.0, 0.0, 1.0, -1.0])
    plain = d.std(ddof=1) / 6**0.5
    assert standard_error(d, list("abcdef"), 5) == pytest.approx(plain * (1 + 5 / 4) ** 0.5)
    twice = standard_error(np.tile(d, 2), list("abcdef") * 2, 5)
    assert twice == pytest.approx(standard_error(d, list("abcdef"), 5))  # repeated queries tell nothing new
    with_unknown = np.append(d, np.nan)
    assert standard_error(with_unknown, list("abcdefg"), 5) == pytest.approx(plain * 1.5)


def test_the_simplest_within_one_error_of_the_best_and_its_own_test():
    rules = Rules(variants(["knn", "ridge"]), lambda *_: None)
    names = [v.label for v in rules.candidates]
    assert names == ["knn shrunk by 0.5", "knn above 0.1", "knn",
                     "ridge shrunk by 0.5", "ridge above 0.1", "ridge"]  # fmt: skip
    errors = np.full(6, 0.01)
    assert decided(np.array([0.0, 0.02, 0.03, 0.01, 0.0, 0.038]), errors, rules)[0] == Variant("knn")
    assert decided(np.array([0.0, 0.016, 0.025, 0.01, 0.0, 0.026]), errors, rules)[0] is None  # 0.016: not surely
    assert decided(np.full(6, 0.009), errors, rules)[0] is None  # the best single is within one error itself


def test_shrunk_and_cautious_scores():
    estimates, means = np.array([[0.5, 0.75], [0.5, 0.58]]), np.array([0.6, 0.5])
    free = np.zeros(2)
    np.testing.assert_allclose(Variant("r", shrink=0.5).scores(estimates, means, free), [[0.55, 0.625], [0.55, 0.54]])
    np.testing.assert_allclose(Variant("r", above=0.1).scores(estimates, means, free), [[0.5, 0.75], [0.6, 0.5]])
    dear = np.array([0.0, 0.2])  # after the price nothing is gained by the second
    np.testing.assert_allclose(Variant("r", above=0.1).scores(estimates, means, dear), [means, means])


def test_what_can_be_learned_is_learned_and_kept(tmp_path):
    data, fresh = many(), observed(seed=9)
    router = AutoRouter(models(), **QUICK).fit(data)
    told = router.learned_values["told"]
    assert told["taken"].startswith("category") and told["bound"] < 0.01 and len(told["candidates"]) == 6
    right = fresh.quality[np.arange(len(fresh)), router.choose(fresh.queries)].mean()
    assert right >= 0.95 > fresh.accuracy.max()
    save_learned(router.learned, tmp_path / "state.safetensors")
    again = with_learned(AutoRouter(models(), **QUICK), load_learned(tmp_path / "state.safetensors"))
    np.testing.assert_array_equal(again.scores(fresh.queries), router.scores(fresh.queries))


def test_the_order_of_models_does_not_matter():
    data, texts = many(3), observed(3, seed=9).queries
    names = [
        AutoRouter(models(3), **QUICK).fit(data).labels[m]
        for m in AutoRouter(models(3), **QUICK).fit(data).choose(texts)
    ]
    for order in ([1, 2, 0], [2, 1, 0]):
        members = [models(3)[m] for m in order]
        other = AutoRouter(members, **QUICK).fit(data.columns(order))
        assert [other.labels[m] for m in other.choose(texts)] == names


def test_nothing_is_taken_where_there_is_nothing_to_gain():
    data = many()
    single = data.best
    for options, seen in (
        ({"candidates": ["best_single"]}, data),  # copies of the best single
        ({"candidates": ["knn"]}, shuffled(data)),
        ({"candidates": ["knn"], "c": 10.0}, shuffled(data)),
        ({"candidates": ["category"]}, observed()),  # 48 queries are no test
    ):
        router = AutoRouter(models(), repeats=1, **options).fit(seen)
        assert router.learned_values["told"]["taken"] is None
        assert (
            router.choose(["what is 3 plus 4", "spell the word cat"]) == (seen.best if seen is not data else single)
        ).all()
    copies = AutoRouter(models(), candidates=["best_single"], repeats=1).fit(data).learned_values["told"]["candidates"]
    assert all(one["difference"] == one["error"] == 0 for one in copies)


def test_a_router_that_learns_by_heart_is_not_taken():
    """A test on the queries that were learned from would take it: neighbours of size 1 are perfect there."""
    data = shuffled(many())
    from consort.ensemble.before.knn import Knn

    seen = Knn(models(), k=1).fit(data)
    assert seen.replay(data).quality.mean() > data.accuracy.max() + 0.1
    assert AutoRouter(models(), **QUICK).fit(data).learned_values["told"]["taken"] is None


def test_candidates_in_another_order_have_the_same_differences():
    data = many()
    told = [AutoRouter(models(), candidates=names, repeats=1).fit(data).learned_values["told"]
            for names in (["category", "knn"], ["knn", "category"])]  # fmt: skip
    first, second = ({one["name"]: one for one in t["candidates"]} for t in told)
    assert first == second and told[0]["bound"] == told[1]["bound"]


def test_prices_count():
    data = many()  # the first model costs 5, the second 1
    cheap = AutoRouter(models(), lambda_=10.0, **QUICK).fit(data)
    assert cheap.learned_values["told"]["taken"] is None
    assert (cheap.choose(["what is 3 plus 4"]) == 1).all()


def test_features_in_fewer_numbers_have_the_same_products():
    rows = AutoRouter(models()).seen.fitted(observed().queries).rows(observed().queries)
    turned = Remembered(observed().queries, rows, turned=True)
    np.testing.assert_allclose(turned.all @ turned.all.T, (rows @ rows.T).toarray(), atol=1e-5)


def test_refused():
    for name in ("length", "auto_router"):
        with pytest.raises(BadParameter, match="cannot be a candidate"):
            AutoRouter(models(), candidates=[name])


def test_the_gate_is_the_routers_own():
    data = many()
    found = fit_gated(AutoRouter(models(), **QUICK), data)
    assert found.strategy is not None and found.decision.kept and found.decision.count == found.fit_count == len(data)
    assert found.decision.candidate_score > 0.9 > found.decision.fallback_score
    assert found.told["oracle"] >= found.decision.candidate_score
    other = fit_gated(AutoRouter(models(), **QUICK), shuffled(data))
    assert other.strategy is None and not other.decision.kept and other.single == shuffled(data).best


def test_consort_fit_writes_it(tmp_path):
    data = many()
    file = tmp_path / "table.jsonl"
    rows = [{"prompt": p, "scores": dict(zip(("a", "b"), map(float, q), strict=True)), "group": g, "split": "dev"}
            for p, q, g in zip(data.prompts, data.quality, data.groups, strict=True)]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)))
    plan = tmp_path / "plan.yml"
    plan.write_text(json.dumps({"auto_router": {"models": [f"table:{file}#a", f"table:{file}#b"], **QUICK}}))
    outcome = fit_verb.fit(plan, tmp_path / "out", table=file)
    assert outcome.kept and outcome.report["choice"]["taken"].startswith("category")
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["details"]["fit"]["choice"]["bound"] == outcome.report["choice"]["bound"]
    from consort import model

    router = model(str(tmp_path / "out" / "plan.yml"))
    assert router.choose(["what is 5 plus 6", "spell the word tree"]).tolist() == [0, 1]
