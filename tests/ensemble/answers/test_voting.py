"""Votes: who wins, what a word is worth, who is asked at all."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadData, BadParameter, EnvironmentFailure, UnknownName
from consort.ensemble.after.vote import Vote
from consort.ensemble.answers.voting import (
    diverse_selection,
    elected,
    focal_diversity,
    forward_selection,
    log_odds,
    vote_quality,
    winners,
)
from consort.ensemble.learning.fitting import fit_gated
from consort.ensemble.learning.observations import Observed
from consort.models import FakeModel


def says(name: str, text: str) -> FakeModel:
    return FakeModel(lambda prompt: text, name=name)


def observed(answers: list[list[str]], gold: list[str]) -> Observed:
    quality = np.array([[float(a == g) for a in row] for row, g in zip(answers, gold, strict=True)])
    names = tuple(f"m{i}" for i in range(len(answers[0])))
    prompts = tuple(f"question {i}" for i in range(len(answers)))
    return Observed(names, prompts, quality, tuple(map(tuple, answers)), np.ones_like(quality))


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7))
def test_the_majority_wins_and_the_earliest_breaks_ties(answers: list[str | None]) -> None:
    chosen = elected(answers, [1.0] * len(answers))
    counts = Counter(a for a in answers if a is not None)
    if not counts:
        assert chosen is None
    else:
        assert chosen is not None
        assert counts[answers[chosen]] == max(counts.values())
        assert chosen == min(answers.index(a) for a, n in counts.items() if n == max(counts.values()))


def test_weights_by_hand() -> None:
    assert log_odds([0.9, 0.6, 0.55, 0.2], 4) == pytest.approx([3.2958, 1.5041, 1.2993, 0], abs=1e-4)
    codes = np.array([[0, 1, 1, 1]])
    assert winners(codes, np.array(log_odds([0.9, 0.6, 0.55, 0.2], 4))).tolist() == [0]
    assert winners(codes, np.ones(4)).tolist() == [1]


@given(st.data())
def test_forward_selection_of_three_equals_brute_force_where_pairs_cannot_help(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    codes = rng.integers(0, 3, (12, 3))
    quality = (codes == 0).astype(float)
    pool = forward_selection(codes, quality)
    ranked = sorted(range(3), key=lambda m: -quality[:, m].mean())
    pools = [[m for m in ranked if m in part] for size in (1, 2, 3) for part in combinations(range(3), size)]
    best = max(float(vote_quality(codes, quality, p).mean()) for p in pools if p[0] == ranked[0])
    assert float(vote_quality(codes, quality, pool).mean()) == pytest.approx(best)


@pytest.mark.parametrize(("accuracy", "kept"), [((0.9, 0.6, 0.6), False), ((0.7, 0.65, 0.65), True)])
def test_the_gate_on_exact_independent_members(accuracy: tuple[float, ...], kept: bool) -> None:
    """Rows of every combination of right and wrong, as often as independent members would have it."""
    rows = []
    for mask in range(8):
        share = np.prod([p if mask >> m & 1 else 1 - p for m, p in enumerate(accuracy)])
        rows += [["right" if mask >> m & 1 else "wrong" for m in range(3)]] * round(1000 * float(share))
    data = observed(rows, ["right"] * len(rows))
    vote = Vote([says(f"m{i}", "x") for i in range(3)], pool="all").fit(data)
    voted = float(vote.replay(data).quality.mean())
    assert voted == pytest.approx({False: 0.792, True: 0.741}[kept], abs=0.002)
    assert (fit_gated(vote, data, rule="mean").strategy is not None) == kept


def test_a_failed_extraction_and_a_failed_member_do_not_vote() -> None:
    class Down:
        name = "down"

        def generate(self, prompts, sampling=None):  # type: ignore[no-untyped-def]
            raise EnvironmentFailure("does not answer in time")

    team = Vote([says("mute", "no number"), Down(), says("dumb", "none"), says("able", "7")], answer="numeric")
    (answer,) = team.generate(["q"])
    assert answer.text == "7"
    assert answer.details["votes"] == {"mute": None, "down": None, "dumb": None, "able": "7"}
    assert answer.details["failed"] == {"down": "does not answer in time"}
    assert set(answer.cost) == {"mute", "dumb", "able"}
    with pytest.raises(EnvironmentFailure):
        Vote([Down()]).generate(["q"])


def test_who_has_no_weight_is_not_asked() -> None:
    (answer,) = Vote([says("a", "1"), says("b", "2"), says("c", "2")], weight=[3, 1, 0]).generate(["q"])
    assert (answer.text, list(answer.cost)) == ("1", ["a", "b"])


def test_fitting_drops_a_harmful_voter_and_weighs_by_log_odds() -> None:
    rng = np.random.default_rng(0)
    gold = ["g"] * 300
    rows = [["g" if rng.random() < p else f"x{i}" for i, p in enumerate((0.8, 0.75, 0.75, 0.1))] for _ in gold]
    data = observed(rows, gold)
    models = [says(f"m{i}", "x") for i in range(4)]
    fitted = Vote(models, weighting="log_odds").fit(data)
    voters, weights = fitted.voters()
    assert sorted(voters) == [0, 1, 2]
    right = [(300 * data.accuracy[m] + 1) / (300 + 4) for m in voters]  # shrunk towards chance
    assert weights == pytest.approx(log_odds(right, 4))
    assert fitted.replay(data).quality.mean() > data.accuracy.max()
    assert fitted.replay(data).cost.tolist() == [3.0] * 300


def test_diversity_by_hand() -> None:
    right = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert focal_diversity(right) == 1.0
    assert focal_diversity(np.array([[0.0, 0.0], [1.0, 1.0]])) == 0.0
    codes = np.array([[0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]])
    assert diverse_selection(codes, (codes == 0).astype(float))[0] == 0


def test_wrong_arguments_are_named() -> None:
    for bad in ({"weight": [1]}, {"weight": [0, 0]}, {"weight": [-1, 2]}, {"answer": "nummeric"}):
        with pytest.raises((BadParameter, UnknownName), match="weight|answer"):
            Vote([says("a", "1"), says("b", "2")], **bad)  # type: ignore[arg-type]
    nothing = Observed(("a", "b"), ("q",), np.ones((1, 2)))
    with pytest.raises(BadData, match="texts"):
        Vote([says("a", "1"), says("b", "2")]).fit(nothing)
