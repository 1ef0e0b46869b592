"""Rows that join later read as rows that were there from the start, in every session that says it can."""

from __future__ import annotations

import pytest
import torch

from consort.models.abilities import able
from consort.models.fake import FakeTokenModel
from consort.models.token_model import TokenModel
from consort.testing.model_laws import strategies
from consort.testing.sampling_laws import subject_of


def joined_later(model: TokenModel) -> None:
    a, b = model.tokenizer.encode("abc ab"), model.tokenizer.encode("ba ca")
    session = model.open(1)
    if not able(session, "admit"):
        pytest.skip("its rows stay together")
    session.feed([a[:-1]], last=True)
    session = session.admit(2)
    later = session.feed([a[-1:], b, a], last=True)
    session = session.select([0, 1]).admit(1)
    again = session.feed([[], [], b], last=True)[2]
    session.rollback([0, len(b), len(b)])
    anew = session.feed([b, [], []], last=True)[0]
    plain = model.open(2).feed([a, b], last=True)
    for found, right in ((later[0], plain[0]), (later[1], plain[1]), (later[2], plain[0])):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
    for found in (again, anew):
        torch.testing.assert_close(found, plain[1], rtol=1e-4, atol=1e-4)
    assert len(session.spent()) == 3


@pytest.mark.parametrize("name", sorted(strategies()))
def test_every_strategy(name):
    model = subject_of(name).strategy
    if not isinstance(model, TokenModel):
        pytest.skip("works on answers")
    joined_later(model)


def test_a_fake_one():
    joined_later(FakeTokenModel.random(1))
