"""Weights by integer programme: the most questions whose most frequent answer is right."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from consort.core.errors import BadData
from consort.ensemble.after.best_of_infinity import BestOfInfinity
from consort.ensemble.answers.optimal_weights import MARGIN, Question, optimal_weights
from consort.ensemble.learning.fitting import fit_gated
from consort.ensemble.learning.observations import Observed
from consort.models import FakeModel


def question(shares, right=0):
    shares = np.array(shares, dtype=float)
    return Question(shares, np.arange(shares.shape[1]) == right)


def drawn(rng, models, count):
    return [question(rng.dirichlet(np.full(3, 0.5), size=models)) for _ in range(count)]


def by_search(questions, models, steps=24):
    """The most questions that any weighting of a fine lattice gets right."""
    best = 0
    for cut in product(range(steps + 1), repeat=models - 1):
        if sum(cut) <= steps:
            mixed = np.array([*cut, steps - sum(cut)]) / steps
            best = max(best, sum((mixed @ (q.shares[:, :1] - q.shares[:, 1:]) >= MARGIN).all() for q in questions))
    return best


def test_by_hand():
    """The first question needs w_1 > 5/9, the second w_1 < 2/3: alone each model gets one of them."""
    questions = [question([[0.7, 0.3], [0.1, 0.6]]), question([[0.2, 0.5], [0.9, 0.3]])]
    found = optimal_weights(questions)
    assert found.right == 2 and found.proven
    # gains .4 w - .5 (1 - w) and -.3 w + .6 (1 - w) are equal at w = 1.1 / 1.8
    assert found.values == pytest.approx((1.1 / 1.8, 0.7 / 1.8), abs=1e-9)


def test_a_question_with_three_right_answers_counts_once():
    """It needs w_1 > 3/4; else it would outweigh the other two, which need w_1 < 3/5."""
    shares = np.array([[0.3, 0.3, 0.3, 0.1], [0.1, 0.1, 0.1, 0.7]])
    three = Question(shares, np.array([True, True, True, False]))
    others = [question([[0.3, 0.7], [0.8, 0.2]])] * 2
    assert optimal_weights([three, *others]).right == 2


@pytest.mark.parametrize("seed", range(4))
def test_no_lattice_of_weights_gets_more_right(seed):
    questions = drawn(np.random.default_rng(seed), 3, 25)
    found = optimal_weights(questions)
    assert found.proven and found.right >= by_search(questions, 3)
    assert sum(found.values) == pytest.approx(1) and min(found.values) >= 0
    turned = optimal_weights([Question(q.shares[[2, 0, 1]], q.right) for q in questions])
    assert turned.right == found.right


def test_edges():
    with pytest.raises(BadData):
        optimal_weights([])
    never = question([[0.2, 0.8], [0.1, 0.9]])
    assert optimal_weights([never]).values == (0.5, 0.5) and optimal_weights([never]).right == 0
    lone = question([[1.0], [1.0]])
    assert optimal_weights([lone]).right == 1
    tie = question([[0.5, 0.5], [0.5, 0.5]])
    assert optimal_weights([tie]).right == 0


def sampled(questions, times, seed):
    """Rows of samples from two models: the answers' shares by question, the first answer right."""
    rng = np.random.default_rng(seed)
    prompts, answers, quality = [], [], []
    for number, q in enumerate(questions):
        for _ in range(times):
            row = [int(rng.choice(q.shares.shape[1], p=share)) for share in q.shares]
            prompts.append(f"question {number}")
            answers.append(tuple(map(str, row)))
            quality.append([float(a == 0) for a in row])
    return Observed(("a", "b"), tuple(prompts), np.array(quality), tuple(answers))


def test_a_fit_on_samples_beats_both_models_and_passes_the_gate():
    """Alone each model has a wrong mode on half of the questions; the mixture never has."""
    kinds = [question([[0.7, 0.2, 0.1], [0.3, 0.36, 0.34]]), question([[0.3, 0.36, 0.34], [0.7, 0.2, 0.1]])]
    models = [FakeModel({}, name=name) for name in "ab"]
    observed = sampled(kinds * 30, 40, 0)
    found = fit_gated(BestOfInfinity(models), observed, seed=0)
    assert found.strategy is not None and found.decision.candidate_score > 0.95 > 0.6 > found.decision.fallback_score
    values = found.strategy.learned.values
    assert values["proven"] and values["right"] >= 29 and 0.3 < values["weights"][0] < 0.7
    assert found.strategy.in_use == [0, 1]


def test_a_model_of_no_weight_is_not_asked():
    kinds = [question([[0.9, 0.1], [0.1, 0.9]])] * 20
    models = [FakeModel({"p": "0"}, name="a"), FakeModel({"p": "1"}, name="b")]
    fitted = BestOfInfinity(models).fit(sampled(kinds, 20, 1))
    assert fitted.in_use == [0] and fitted.generate(["p"])[0].cost.keys() == {"a"}
    with pytest.raises(BadData, match="texts"):
        fitted.fit(Observed(("a", "b"), ("p",), np.ones((1, 2))))
