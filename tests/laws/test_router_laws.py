"""Every registered router keeps the laws; a new file is tested because it exists."""

from __future__ import annotations

import numpy as np
import pytest

from consort.ensemble.before import before
from consort.models import FakeModel
from consort.plan import build as build_plan
from consort.plan import parse, to_plan
from consort.testing import router_laws as laws

QUICK = {
    "cluster": {"clusters": 4},
    "mf": {"epochs": 3, "size": 8},
    "router_dc": {"steps": 20, "batch": 16, "size": 8},
    "zooter": {"penalty": 0.1},
}
PAIRS = [name for name in before if any(p.name == "strong" for p in before.entry(name).params)]
MANY = [name for name in before if name not in PAIRS]


def build(name):
    def make(models):
        options = dict(QUICK.get(name, {}))
        if name == "causal_score":
            options["scorer"] = FakeModel(lambda text: "5" if "plus" in text else "2", name="judge")
        return before.get(name)(*models, **options) if name in PAIRS else before.get(name)(models, **options)

    return make


@pytest.mark.parametrize("name", list(before))
@pytest.mark.parametrize(
    "law",
    [
        laws.is_deterministic,
        laws.follows_a_permutation,
        laws.of_one_model_is_that_model,
        laws.adds_costs,
        laws.passes_over_failures,
        laws.skips_unknown_qualities,
        laws.scores_with_the_chosen_member,
        laws.one_member_judges_a_context,
        laws.needs_members_that_score,
    ],
    ids=lambda law: law.__name__,
)
def test_laws(name, law):
    law(build(name))


@pytest.mark.parametrize("name", list(before))
def test_state_round_trip(name, tmp_path):
    laws.keeps_its_state(build(name), tmp_path)


@pytest.mark.parametrize("name", [n for n in PAIRS if n != "causal_score"])
def test_thresholds_at_both_ends_of_their_range(name):
    """At the least it is always the strong model, at the most never; plans have no infinity."""
    data = laws.observed()
    [bounds] = [p.range for p in before.entry(name).params if p.name == "threshold"]
    for threshold, chosen in ((bounds.low, 0), (bounds.high, 1)):
        router = before.get(name)(*laws.models(), **QUICK.get(name, {}), threshold=threshold).fit(data)
        assert (router.choose(data.queries) == chosen).all()


@pytest.mark.parametrize("name", [n for n in PAIRS if n not in ("causal_score", "length")])
def test_more_share_is_more_strong_calls(name):
    data = laws.observed()
    calls = [
        (before.get(name)(*laws.models(), **QUICK.get(name, {}), share=share).fit(data).choose(data.queries) == 0).sum()
        for share in (0.1, 0.5, 0.9)
    ]
    assert calls == sorted(calls)


@pytest.mark.parametrize("name", [n for n in MANY if n != "random"])
def test_a_large_lambda_takes_the_cheapest(name):
    data = laws.observed()
    router = before.get(name)(laws.models(), **QUICK.get(name, {}), lambda_=1e6).fit(data)
    assert (router.choose(data.queries) == 1).all()


@pytest.mark.parametrize(
    "name", ["blend", "category", "knn", "ridge", "zooter", "correctness", "cluster", "sw_ranking"]
)
def test_learns_what_there_is_to_learn(name):
    data, fresh = laws.observed(seed=0), laws.observed(seed=1)
    chosen = build(name)(laws.models()).fit(data).choose(fresh.queries)
    right = fresh.quality[np.arange(len(fresh)), chosen].mean()
    assert right >= 0.95 > fresh.accuracy.max()


@pytest.mark.parametrize("name", list(before))
def test_plan_round_trip(name, tmp_path):
    file = tmp_path / "table.jsonl"
    file.write_text('{"prompt": "p", "answers": {"a": "x", "b": "y"}}\n')
    references = [f"table:{file}#a", f"table:{file}#b"]
    options = {key: value for key, value in QUICK.get(name, {}).items()}
    plan = {name: ({"strong": references[0], "weak": references[1]} if name in PAIRS else {"models": references})}
    plan[name] |= {"scorer": references[0]} if name == "causal_score" else options
    assert to_plan(build_plan(parse(plan))) == plan
