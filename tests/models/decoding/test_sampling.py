"""From logits to tokens."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from consort.core.types import Sampling
from consort.models.decoding.sampling import choose, distribution, draw, key, uniform

LOGITS = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()


def probabilities(**settings: float) -> list[float]:
    return [round(p, 4) for p in distribution(LOGITS, Sampling(**settings))[0].tolist()]  # type: ignore[arg-type]


def test_distribution_by_hand() -> None:
    assert probabilities(temperature=0) == [1, 0, 0, 0]
    assert probabilities(temperature=1) == [0.5, 0.25, 0.15, 0.1]
    assert probabilities(temperature=0.5) == [0.7246, 0.1812, 0.0652, 0.029]
    assert probabilities(temperature=1, top_k=2) == [0.6667, 0.3333, 0, 0]
    assert probabilities(temperature=1, top_p=0.7) == [0.6667, 0.3333, 0, 0]
    assert probabilities(temperature=1, top_p=0.4) == [1, 0, 0, 0]
    assert probabilities(temperature=1, top_k=99) == [0.5, 0.25, 0.15, 0.1]


def test_top_k_of_equals_keeps_the_first() -> None:
    assert distribution(torch.zeros(1, 4), Sampling(temperature=1, top_k=2))[0].tolist() == [0.5, 0.5, 0, 0]


def test_draw_inverts_the_cumulated_probabilities() -> None:
    p = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).expand(4, 5)
    assert draw(p, [0.0, 0.49, 0.5, 1.0]).tolist() == [1, 1, 3, 3]


@given(st.integers(0, 2**63), st.integers(0, 10**6))
def test_uniform_is_a_fixed_number_below_one(seed: int, position: int) -> None:
    number = uniform(key(seed, [1, 2], 0), position)
    assert 0 <= number < 1
    assert number == uniform(key(seed, [1, 2], 0), position)


def test_draws_follow_the_distribution() -> None:
    rows = [key(5, [i], 0) for i in range(20000)]
    tokens = choose(LOGITS.expand(20000, 4), Sampling(temperature=1), rows, position=3)
    shares = torch.bincount(tokens, minlength=4) / 20000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.25, 0.15, 0.1]), atol=0.015, rtol=0)


def test_the_smallest_temperatures_are_greedy() -> None:
    logits = torch.tensor([[50.0, 60.0, -70.0], [1e-6, 0.0, -torch.inf]])
    for temperature in (1e-320, 1e-300, 1e-12):
        found = distribution(logits, Sampling(temperature=temperature)).tolist()
        assert found == [[0, 1, 0], [1, 0, 0]]
    equal = distribution(torch.tensor([[9.0, 9.0, 8.0]]), Sampling(temperature=1e-320)).tolist()
    assert equal == [[0.5, 0.5, 0]]
