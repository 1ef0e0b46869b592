"""Attribution of tokens to the members of an ensemble."""

from __future__ import annotations

import math

import pytest
import torch

from consort.core.errors import Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.attributed import Attributed, attribution
from consort.ensemble.during.average import Average
from consort.models import FakeTokenizer, FakeTokenModel

TEXT = FakeTokenizer("ab")


def constant(p: float, name: str) -> FakeTokenModel:
    return FakeTokenModel.bigram([[p, 1 - p, 0, 0]] * 4, TEXT, name=name)


A, B = FakeTokenModel.random(1), FakeTokenModel.random(2)


def test_by_hand() -> None:
    """Members say a with .9 and .3, weights 1 and 3: the mix says .45, without the first .3, without the second .9."""
    (found,) = attribution(Average([constant(0.9, "x"), constant(0.3, "y")], weight=[1, 3]), [[2, 0, 1]])
    wanted = [[math.log(0.45 / 0.3), math.log(0.55 / 0.7)], [math.log(0.45 / 0.9), math.log(0.55 / 0.1)]]
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-5, rtol=1e-5)


def test_copies_have_nothing_of_their_own() -> None:
    found = attribution(Average([A, A, A]), [[0, 1, 2, 0], [3, 1]])
    assert [x.shape for x in found] == [(3, 3), (3, 1)]
    assert max(float(x.abs().max()) for x in found) < 1e-6


def test_answers_tell_it_and_charge_for_it() -> None:
    plain, sampling = Average([A, B]), Sampling(max_tokens=6, temperature=1.0)
    got = Attributed(plain).generate(["abc", "b"], sampling)
    for answer, wanted in zip(got, plain.generate(["abc", "b"], sampling), strict=True):
        assert answer.tokens == wanted.tokens
        told = answer.details["attribution"]
        assert set(told) == {"random-1", "random-2"}
        assert all(len(values) == len(answer.tokens) for values in told.values())
        assert answer.cost["random-1"].prompt_tokens > wanted.cost["random-1"].prompt_tokens


def test_a_model_without_weights_is_refused() -> None:
    for model in (A, Average([A]), Average([A, B], weight=[1, 0])):
        with pytest.raises(Unsupported, match="no members that could be left out"):
            Attributed(model)
