"""The rejection rules by hand, by frequency, and with a wrong q that must be found."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch

from consort.cooperate.speculate.drafters.draft import Draft
from consort.cooperate.speculate.rounds.verify import chosen_path, drawn_chain, drawn_tree, lossy_chain
from consort.core.errors import BadParameter
from consort.testing.tables import LARGEST_Z, z_score

P = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
Q = torch.tensor([0.1, 0.6, 0.2, 0.1], dtype=torch.float64)
N = 6000


def numbers(**given: float) -> Any:
    return lambda purpose, depth, child: given[purpose]


def test_a_chain_by_hand() -> None:
    """p/q of token 1 is a half: it stands below that, else the residual is all on token 0."""
    draft, p = Draft([1], Q.view(1, -1)), torch.stack([P, Q])
    assert drawn_chain(p, draft, numbers(accept=0.49, plain=0.75)).path == (0,)
    assert drawn_chain(p, draft, numbers(accept=0.49, plain=0.75)).token == 2
    refused = drawn_chain(p, draft, numbers(accept=0.5, residual=0.99))
    assert (refused.path, refused.token, refused.tested) == ((), 0, 1)


def test_equal_distributions_accept_whatever_the_rounding() -> None:
    draft = Draft([1], (Q * (1 + 1e-16)).view(1, -1))
    assert drawn_chain(torch.stack([Q, Q]), draft, numbers(accept=1.0, plain=0.0)).path == (0,)


def test_chosen_tokens_lead_through_a_tree() -> None:
    draft = Draft([4, 5, 6, 7], None, [-1, -1, 1, 2])
    verdict = chosen_path([5, 9, 6, 8, 9], draft)
    assert (verdict.path, verdict.token, verdict.tested) == ((1, 2), 8, 3)
    assert chosen_path([3, 0, 0, 0, 0], draft).path == ()
    assert chosen_path([3], Draft()).tested == 0


def test_duplicate_children_are_refused() -> None:
    with pytest.raises(BadParameter, match="draft: a token occurs twice"):
        chosen_path([4, 0, 0], Draft([4, 4], None, [-1, -1]))
    with pytest.raises(BadParameter, match="distributions are missing"):
        drawn_chain(torch.stack([P, P]), Draft([1]), numbers())


def drawn(q: torch.Tensor, rng: random.Random) -> int:
    return rng.choices(range(len(q)), q.tolist())[0]


def sample_chain(told: torch.Tensor, rng: random.Random) -> tuple[int, bool]:
    """One token by drafting from Q and telling the verifier that it was `told`."""
    token = drawn(Q, rng)
    verdict = drawn_chain(torch.stack([P, P]), Draft([token], told.view(1, -1)), lambda *_: rng.random())
    return (token if verdict.path else verdict.token), bool(verdict.path)


def test_frequencies_are_p_and_acceptance_is_the_overlap() -> None:
    rng = random.Random(1)
    seen = [sample_chain(Q, rng) for _ in range(N)]
    assert z_score(Counter(token for token, _ in seen), dict(enumerate(P.tolist()))) < LARGEST_Z
    overlap = float(torch.minimum(P, Q).sum())
    error = (overlap * (1 - overlap) / N) ** 0.5
    assert sum(stood for _, stood in seen) / N == pytest.approx(overlap, abs=3 * error)


def test_a_permuted_q_is_found() -> None:
    rng = random.Random(2)
    seen = Counter(sample_chain(Q[[1, 0, 3, 2]], rng)[0] for _ in range(N))
    assert z_score(seen, dict(enumerate(P.tolist()))) > LARGEST_Z


def test_children_drawn_without_replacement_give_p() -> None:
    rng = random.Random(3)
    seen: Counter[int] = Counter()
    for _ in range(N):
        left, tokens = Q.clone(), []
        for _ in range(3):
            tokens.append(drawn(left, rng))
            left[tokens[-1]] = 0
        draft = Draft(tokens, Q.repeat(3, 1), [-1, -1, -1])
        verdict = drawn_tree(P.repeat(4, 1), draft, lambda *_: rng.random())
        seen[tokens[verdict.path[0]] if verdict.path else verdict.token] += 1
    assert z_score(seen, dict(enumerate(P.tolist()))) < LARGEST_Z


def test_typical_acceptance_by_hand() -> None:
    """The entropy of P is 1.03 nats, so the bound is min(0.09, 0.3 exp(-1.03)) = 0.09."""
    p = torch.stack([P, torch.tensor([0.05, 0.95, 0, 0], dtype=torch.float64), P])
    verdict = lossy_chain(p, Draft([2, 0]), numbers(plain=0.5), "typical")
    assert (verdict.path, verdict.token) == ((0,), 1)
    assert lossy_chain(p, Draft([2, 0]), numbers(plain=0.5), "typical", epsilon=0.04).path == (0, 1)


def test_a_mixture_accepts_more_and_is_p_where_all_weight_is_the_targets() -> None:
    draft, p = Draft([1], Q.view(1, -1)), torch.stack([P, P])
    assert not drawn_chain(p, draft, numbers(accept=0.6, residual=0.0)).path
    assert lossy_chain(p, draft, numbers(accept=0.6, plain=0.0), "ensemble", weight=0.5).path == (0,)
    assert not lossy_chain(p, draft, numbers(accept=0.6, residual=0.0), "ensemble", weight=1.0).path
