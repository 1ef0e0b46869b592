"""Log-odds weights of voters: exact accuracies by enumeration, shrinking, copies."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from consort.ensemble.after.vote import Vote
from consort.ensemble.answers.voting import apart, log_odds, shrunk, support
from consort.ensemble.learning.observations import Observed
from consort.models import FakeModel

K = 4


def exact(accuracy, weights):
    """The accuracy of the weighted vote; errors are independent and uniform over the wrong answers, ties split."""
    found = 0.0
    for answers in product(range(K), repeat=len(accuracy)):
        chance = np.prod([p if a == 0 else (1 - p) / (K - 1) for p, a in zip(accuracy, answers, strict=True)])
        sums = support(np.array([answers]), np.array(weights))[0]
        leaders = {a for a, s in zip(answers, sums, strict=True) if s >= sums.max() - 1e-9}
        found += chance * (0 in leaders) / len(leaders)
    return found


@pytest.mark.parametrize(
    ("accuracy", "equal", "optimal"), [((0.7, 0.65, 0.6), 0.772111, 0.784333), ((0.9, 0.6, 0.55), 0.817889, 0.9)]
)
def test_numbers(accuracy, equal, optimal):
    assert exact(accuracy, [1.0] * 3) == pytest.approx(equal, abs=1e-6)
    weights = log_odds(accuracy, K)
    assert exact(accuracy, weights) == pytest.approx(optimal, abs=1e-6)
    if optimal == 0.9:
        assert weights[0] > sum(weights[1:])


def test_accuracies_are_shrunk():
    quality = np.array([[1.0, 0.0], [1.0, np.nan], [1.0, 1.0]])
    assert shrunk(quality, K) == pytest.approx([4 / 7, 2 / 6])
    assert shrunk(np.ones((1, 1)), K)[0] < 0.5  # one right answer is no perfect voter


def observed(copies: int) -> Observed:
    """A good voter, and a worse one given several times."""
    rng = np.random.default_rng(0)
    good, worse = rng.random(400) < 0.8, rng.random(400) < 0.7
    quality = np.stack([good, *[worse] * copies], axis=1).astype(float)
    answers = tuple(tuple("r" if q else f"w{m > 0}" for m, q in enumerate(row)) for row in quality)
    names = tuple(f"m{i}" for i in range(copies + 1))
    return Observed(names, tuple(map(str, range(400))), quality, answers)


def test_copies_vote_once():
    data = observed(3)
    models = [FakeModel({}, name=name) for name in data.models]
    plain, shared = (
        Vote(models, weighting=w, pool="all").fit(data).voters()[1] for w in ("log_odds", "shared_log_odds")
    )
    assert sum(plain[1:]) > plain[0]  # together the copies outvote the better one
    assert sum(shared[1:]) < shared[0]
    alone = apart(log_odds(shrunk(observed(1).quality, K), K), observed(1).quality)
    assert sum(shared[1:]) == pytest.approx(alone[1], rel=0.15)
    one = replace(data, quality=data.quality[:, :1], models=("m0",), answers=())
    assert apart([2.0], one.quality) == [2.0]
