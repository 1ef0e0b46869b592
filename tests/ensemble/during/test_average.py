"""The average of next-token distributions."""

from __future__ import annotations

import math

import pytest
import torch

from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.average import Average, mix
from consort.models import FakeModel, FakeTokenizer, FakeTokenModel

Q = [torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.tensor([[0.2, 0.5, 0.3]]).log()]
A, B = FakeTokenModel.random(1), FakeTokenModel.random(2)


def test_means_by_hand() -> None:
    assert mix(Q, [0.5, 0.5], "arithmetic").exp()[0].tolist() == pytest.approx([0.4, 0.4, 0.2])
    assert mix(Q, [0.75, 0.25], "arithmetic").exp()[0].tolist() == pytest.approx([0.5, 0.35, 0.15])
    assert mix(Q, [0.5, 0.5], "geometric").exp()[0].tolist() == pytest.approx([0.381966, 0.427051, 0.190983])


def test_geometric_is_the_softmax_of_averaged_logits() -> None:
    a, b = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mix([a, b], [0.3, 0.7], "geometric"), (0.3 * a + 0.7 * b).log_softmax(-1))


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_all_weight_on_one_model_is_that_model_and_the_other_is_not_asked(mean: str) -> None:
    team = Average([A, B], weight=[2, 0], mean=mean)  # type: ignore[arg-type]
    sampling = Sampling(max_tokens=9, temperature=1.0)
    got, wanted = team.generate(["abc", "b"], sampling), A.generate(["abc", "b"], sampling)
    assert [a.tokens for a in got] == [a.tokens for a in wanted]
    assert set(got[0].cost) == {A.name}


def test_tables_of_different_height_are_cut() -> None:
    tokenizer = FakeTokenizer("ab")
    small = FakeTokenModel(lambda t: [0.0, 0.0, 0.0, 1.0], tokenizer, name="small")
    tall = FakeTokenModel(lambda t: [0.0, 0.0, 0.0, 1.0], tokenizer, name="tall")
    padded = mix([torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0, 5.0]])], [0.5, 0.5], "arithmetic")
    assert padded.exp()[0].tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    assert Average([small, tall]).open().feed([[0]])[0].shape == (1, 4)


def test_different_vocabularies_are_refused_by_name() -> None:
    other = FakeTokenModel.random(3, FakeTokenizer("xyz"), name="other")
    with pytest.raises(Incompatible, match="random-1 and other have different vocabularies") as error:
        Average([A, other])
    assert error.value.hint


def test_bad_arguments_are_named() -> None:
    for weight in ([1.0], [-1.0, 2.0], [0.0, 0.0], [math.nan, 1.0]):
        with pytest.raises(BadParameter, match="weight"):
            Average([A, B], weight=weight)
    with pytest.raises(BadParameter, match="mean"):
        Average([A, B], mean="harmonic")  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match="models"):
        Average([])
    with pytest.raises(Unsupported, match="fake does not show its logits"):
        Average([A, FakeModel({})])  # type: ignore[list-item]


def test_window_and_ends_are_those_of_all_members() -> None:
    short = FakeTokenModel.random(4)
    short.window = 7
    team = Average([A, short])
    assert (team.window, team.ends) == (7, A.ends)
