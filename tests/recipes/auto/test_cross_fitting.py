"""Teams that learn from known answers: who is in them, how they are judged, what is kept."""

from __future__ import annotations

import numpy as np
import pytest

from consort.core.types import Example
from consort.ensemble.learning.fitting import load_learned
from consort.evaluate import Result
from consort.recipes.auto.learners import complementary, keep, learners
from consort.recipes.auto.stage import Proposal

SIZE = 60
EXAMPLES = [Example(prompt=f"{'add' if i % 2 else 'spell'} number {i}", target="x", line=i) for i in range(SIZE)]


def model(name, right, metric="exact_match", price=1.0):
    """A model that is right on the examples of these numbers."""
    scores = [float(i in right) for i in range(SIZE)]
    answers = tuple("x" if s else f"{name} errs" for s in scores) if metric == "exact_match" else ()
    mean = float(np.mean(scores))
    rows = tuple((s, 1.0) for s in scores)
    return Proposal(
        name, name, Result(name, "t", "fit", metric, mean, (mean, mean), rows, "key", answers=answers), price
    )


ODD, EVEN = set(range(1, SIZE, 2)), set(range(0, SIZE, 2))


@pytest.mark.parametrize("metric", ["exact_match", "choice"])
def test_members_that_are_never_asked_are_not_in_the_plan(metric, tmp_path):
    members = [model("odd", ODD, metric), model("even", EVEN - {0}, metric), model("worse", {3, 5}, metric)]
    found = {next(iter(team.expression)): team for team in learners(members, EXAMPLES, 0)[0]}
    assert found["knn"].expression["knn"]["models"] == ["odd", "even"]
    assert found["ridge"].expression["ridge"]["models"] == ["odd", "even", "worse"]  # nothing can be proved of it
    assert found["knn"].score >= 0.9
    assert set(found) <= ({"knn", "ridge"} if metric == "choice" else {"knn", "ridge", "frugal_gpt", "vote"})
    keep(found["knn"], tmp_path)
    learned = load_learned(tmp_path / found["knn"].expression["knn"]["state"])
    assert learned.arrays["quality"].shape == (SIZE, 2)


def test_a_strategy_that_always_chooses_one_is_none():
    members = [model("all", ODD | EVEN), model("some", {1, 2, 3}), model("few", {1})]
    assert not {"knn", "vote"} & {next(iter(team.expression)) for team in learners(members, EXAMPLES, 0)[0]}


def test_members_of_a_chain_and_voters_are_those_in_the_plan():
    right = [ODD | {0, 2}, EVEN | {1, 3}, ODD - {5}, {7}, {9}, {11}]
    teams = learners([model(f"m{i}", own, price=float(i + 1)) for i, own in enumerate(right)], EXAMPLES, 0)[0]
    for team in teams:
        [(name, arguments)] = team.expression.items()
        if name in ("frugal_gpt", "vote"):
            assert len(arguments["models"]) < 6


def test_nothing_is_learned_of_texts_that_are_read():
    rows = tuple((-1.0, 1.0, 1.0) for _ in range(SIZE))
    one = Proposal("a", "a", Result("a", "t", "fit", "perplexity", -1.0, (-1.0, -1.0), rows, "key"), 1.0)
    assert learners([one, one], EXAMPLES, 0) == ([], [])


def of_many(right, size=240):
    """A model that is right on these of many examples."""
    rows = tuple((float(right(i)), 1.0) for i in range(size))
    mean = float(np.mean([r for r, _ in rows]))
    name = right.__name__
    answers = tuple("x" if r else f"{name} errs" for r, _ in rows)
    return Proposal(
        name, name, Result(name, "t", "fit", "exact_match", mean, (mean, mean), rows, "key", answers=answers), 1.0
    )


def test_a_router_chosen_among_routers_where_there_are_enough_examples():
    def odd(i):
        return i % 2 == 1

    def even(i):
        return i % 2 == 0 and i > 3

    def most(i):
        return i % 5 > 0

    def least(i):
        return i % 7 == 0

    many = [Example(prompt=f"{'add' if i % 2 else 'spell'} number {i}", target="x", line=i) for i in range(240)]
    found, _ = learners([of_many(odd), of_many(even)], many, 0, ("auto_router",))
    assert [next(iter(t.expression)) for t in found] == ["auto_router"] and found[0].score > 0.9
    found, notes = learners([of_many(most), of_many(least)], many, 0, ("auto_router",))
    assert not found and "always choose most" in notes[0]
    few = [of_many(odd, 60), of_many(even, 60)]
    assert learners(few, EXAMPLES, 0, ("auto_router",)) == ([], [])


def test_thrifty_strategies_ask_the_dear_one_only_where_it_pays():
    members = [model("cheap", ODD, price=1.0), model("dear", ODD | EVEN, price=10.0)]
    arguments = {"frugal_gpt": {"budget": 6.0}, "ridge": {"lambda_": 0.02}}
    teams, _ = learners(members, EXAMPLES, 0, tuple(arguments), called="thrifty", arguments=arguments)
    assert [team.name for team in teams] == ["thrifty frugal_gpt of 2 models", "thrifty ridge of 2 models"]
    assert all(team.price < 7 and team.score >= 0.9 for team in teams)
    assert teams[1].expression["ridge"]["lambda"] == 0.02
    assert teams[1].expression["ridge"]["state"].startswith("states/thrifty_ridge-")


def test_of_many_members_those_stay_that_know_what_no_other_does():
    many = [model(f"m{i}", ODD - {2 * i + 1}) for i in range(9)]
    kept = complementary([*many, model("odd one out", {0, 2})])
    assert len(kept) == 8 and kept[-1].name == "odd one out"
    assert complementary(many[:3]) == many[:3]
