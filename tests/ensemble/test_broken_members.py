"""A member whose logits are no numbers is left out and named; where none is left the ensemble refuses."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import pytest
import torch

from consort.cooperate.speculate import Speculate
from consort.cooperate.transfer.contrastive import Contrastive
from consort.core.errors import BadCheckpoint
from consort.core.types import Sampling
from consort.ensemble.during.average import Average
from consort.ensemble.during.cp_delta import CpDelta
from consort.ensemble.during.gac import Gac
from consort.models import FakeTokenizer, FakeTokenModel

GOOD, OTHER = FakeTokenModel.random(1), FakeTokenModel.random(2)
GREEDY = Sampling(max_tokens=6)


def broken(value: float, tokenizer: FakeTokenizer | None = None, *, after: int = 0) -> FakeTokenModel:
    """A model one of whose logits is `value` from the token of number `after` on."""

    def logits(tokens: tuple[int, ...]) -> list[float]:
        found = list(OTHER.logits(tokens))
        return [*found[:-1], value] if len(tokens) > after else found

    return FakeTokenModel(logits, tokenizer or GOOD.tokenizer, name="broken")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("make", [Average, CpDelta, Gac])
def test_a_broken_member_is_left_out_with_a_note(
    make: Callable[..., Average], value: float, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "consort.ensemble"):
        (answer,) = make([GOOD, broken(value), OTHER]).generate(["ab"], GREEDY)
    assert answer.tokens == make([GOOD, OTHER]).generate(["ab"], GREEDY)[0].tokens
    assert answer.details["left_out"] == {"broken": len(answer.tokens)}
    assert caplog.text.count("broken gives logits that are not numbers") == 1
    assert all(math.isfinite(x) for x in answer.details["logprobs"])


def test_it_takes_part_as_long_as_it_can() -> None:
    model = Average([GOOD, broken(math.nan, after=4)])
    sound, late = model.generate(["ab", "abcab"], Sampling(max_tokens=1))
    assert "left_out" not in sound.details
    assert late.details["left_out"] == {"broken": 1}


def test_a_member_with_another_tokenizer_is_told_from_one_with_nothing_to_read() -> None:
    other = broken(math.nan, FakeTokenizer(GOOD.tokenizer.alphabet[::-1]))
    assert Gac([GOOD, other]).generate(["ab"], GREEDY)[0].details["left_out"]["broken"] > 0


def test_no_member_left_is_refused_by_name() -> None:
    with pytest.raises(BadCheckpoint, match="broken: no member is left"):
        Average([broken(math.nan), broken(math.inf)]).generate(["ab"], GREEDY)


def test_a_sum_with_a_broken_term_is_refused_by_name() -> None:
    with pytest.raises(BadCheckpoint, match="broken: gives logits that are not numbers"):
        Contrastive(GOOD, broken(math.nan)).generate(["ab"], GREEDY)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_broken_draft_changes_nothing(temperature: float) -> None:
    """Its guesses are drawn evenly; none is taken for accepted because a ratio with NaN compares as neither."""
    model = Speculate(GOOD, broken(math.nan), gamma=3)
    sampling = Sampling(max_tokens=4, temperature=temperature, seed=3)
    answers = model.generate(["ab"] * 400, sampling)
    if not temperature:
        assert {a.tokens for a in answers} == {GOOD.generate(["ab"], sampling)[0].tokens}
        return
    p = GOOD.open(1).feed([GOOD.tokenizer.encode("ab")])[0][-1].softmax(-1)
    first = torch.bincount(torch.tensor([a.tokens[0] for a in answers]), minlength=len(p)) / 400
    assert float((first - p).abs().max()) < 0.1
    told = [a.details["speculation"] for a in answers]
    assert sum(sum(t["accepted_at"]) for t in told) < 0.8 * sum(t["rounds"] for t in told) * 3
