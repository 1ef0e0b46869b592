"""What changes logits and cuts distributions, by hand; seeds by row, minimum lengths and cancelling in the loop."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter
from consort.core.types import Sampling
from consort.models import FakeTokenizer, FakeTokenModel
from consort.models.decoding.sampling import adjusted, distribution

LOGITS = torch.tensor([[2.0, -1.0, 0.5, 0.0]])
P = torch.tensor([[0.5, 0.25, 0.15, 0.1]])


def changed(prompt: list[int], answer: list[int], **settings: Any) -> list[float]:
    return adjusted(LOGITS, Sampling(**settings), [prompt], [answer], {3})[0].tolist()


def test_logits_by_hand() -> None:
    assert changed([0], [1], repetition_penalty=2.0) == [1.0, -2.0, 0.5, 0.0]
    assert changed([0], [2, 2, 1], frequency_penalty=0.5) == [2.0, -1.5, -0.5, 0.0]
    assert changed([0], [2, 2, 1], presence_penalty=0.5) == [2.0, -1.5, 0.0, 0.0]
    assert changed([0], [], logit_bias=((0, -3.0), (3, 1.0))) == [-1.0, -1.0, 0.5, 1.0]
    assert changed([0], [1], min_tokens=2) == [2.0, -1.0, 0.5, -torch.inf]
    assert changed([0], [1, 1], min_tokens=2) == LOGITS[0].tolist()
    assert LOGITS.tolist() == [[2.0, -1.0, 0.5, 0.0]]
    assert adjusted(LOGITS, Sampling(), [[0]], [[1]]) is LOGITS


def cut(**settings: Any) -> list[float]:
    return [round(p, 4) for p in distribution(P.log(), Sampling(temperature=1, **settings))[0].tolist()]


def test_cuts_by_hand() -> None:
    assert cut(min_p=0.4) == [0.6667, 0.3333, 0, 0]
    assert cut(min_p=1.0) == [1, 0, 0, 0]
    # entropy 1.2080 nats; surprise .6931, 1.3863, 1.8971, 2.3026: nearest first b, a, c, d
    assert cut(typical_p=0.2) == [0, 1, 0, 0]
    assert cut(typical_p=0.5) == [0.6667, 0.3333, 0, 0]
    assert cut(typical_p=0.8) == [0.5556, 0.2778, 0.1667, 0]
    # of 2/3 and 1/3 entropy is .6365, surprise .4055 and 1.0986
    assert cut(top_k=3, min_p=0.4, typical_p=0.5) == [1, 0, 0, 0]


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=9), st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, 9))
def test_cuts_keep_a_distribution(values: list[float], top_p: float, typical_p: float, top_k: int) -> None:
    sampling = Sampling(temperature=1, top_p=top_p, typical_p=typical_p, top_k=top_k, min_p=0.01)
    p = distribution(torch.tensor([values]), sampling)[0]
    full = torch.tensor(values).double().softmax(-1)
    assert float(p.sum()) == pytest.approx(1)
    assert (p[p > 0] >= full[p > 0] - 1e-9).all()


@pytest.mark.parametrize(
    "bad",
    [
        {"min_p": 1.5},
        {"typical_p": 0.0},
        {"repetition_penalty": 0.0},
        {"logit_bias": ((0, float("nan")),)},
        {"min_tokens": -1},
    ],
)
def test_settings_out_of_range_are_named(bad: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match=next(iter(bad))):
        FakeTokenModel.random(0).generate(["a"], Sampling(**bad))


def test_a_bias_on_no_token_is_refused() -> None:
    with pytest.raises(BadParameter, match="no token 6"):
        FakeTokenModel.random(0).generate(["a"], Sampling(logit_bias=((6, 1.0),)))


def cycle() -> FakeTokenModel:
    """a b c and then the end; after the end, if it may not come, a."""
    table = [[0.1, 0.9, 0, 0, 0], [0, 0.1, 0.9, 0, 0], [0.2, 0, 0, 0, 0.8], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    return FakeTokenModel.bigram(table, FakeTokenizer("abc"), name="cycle")


def text(**settings: Any) -> str:
    return cycle().generate(["a"], Sampling(max_tokens=8, **settings))[0].text


def test_settings_reach_the_answer() -> None:
    assert text() == "bc"
    assert text(min_tokens=4) == "bcabc"
    assert text(logit_bias=((4, -torch.inf),)) == "bcabcabc"
    assert text(stop=("c",), min_tokens=3) == "bcab"
    assert text(logit_bias=((0, 5.0),), frequency_penalty=3.0) == "abcabc"


def test_logprobs_are_those_before_any_change() -> None:
    (answer,) = cycle().generate(["a"], Sampling(max_tokens=3, min_tokens=3))
    assert answer.details["logprobs"][2] == pytest.approx(torch.tensor(0.2).log().item())


def test_seeds_by_row() -> None:
    model = FakeTokenModel.random(0, FakeTokenizer("abcdefghijkl"))
    sampling = Sampling(max_tokens=8, temperature=1.5)
    three = [a.tokens for a in model.generate(["ab"] * 3, replace(sampling, seeds=(1, 2, 1)))]
    assert three[0] == three[2] != three[1]
    assert [a.tokens for a in model.generate(["ab"], replace(sampling, seed=2))] == [three[1]]
    with pytest.raises(BadParameter, match="1 seeds for 2 prompts"):
        model.generate(["a", "b"], replace(sampling, seeds=(1,)))


def test_cancelling_ends_answers_as_they_are() -> None:
    model, asked = FakeTokenModel(lambda t: [0.0, 1.0, 0.0, 0.0], FakeTokenizer("ab")), []  # type: ignore[var-annotated]

    def after_three() -> bool:
        asked.append(1)
        return len(asked) > 3

    answers = model.generate(["a", "b"], Sampling(max_tokens=50), cancel=after_three)
    assert [(a.text, a.finish_reason) for a in answers] == [("bbb", "cancelled")] * 2
    assert all(answer.cost for answer in answers)
    event = Event()
    pieces = model.stream("a", Sampling(max_tokens=50), cancel=event)
    assert next(pieces) == "b"
    event.set()
    assert len(list(pieces)) <= 1
    assert model.generate(["a"], cancel=event)[0].finish_reason == "cancelled"


def test_a_stop_string_late_in_a_long_answer_is_found() -> None:
    letters = "ab" * 60 + "abc" + "a" * 9
    model = FakeTokenModel(
        lambda t: [float(c == letters[len(t) - 2]) for c in "abc"] + [0.0, 0.0], FakeTokenizer("abc")
    )
    (answer,) = model.generate(["a"], Sampling(max_tokens=130, stop=("bc", "zz")))
    assert answer.text == "ab" * 60 + "a"
    assert "".join(model.stream("a", Sampling(max_tokens=130, stop=("bc",)))) == answer.text
