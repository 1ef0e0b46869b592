"""Mixtures of next-token distributions with weights of either sign."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort.core.errors import BadParameter
from consort.ensemble.during.token_swarm import TokenSwarm, mixed


@pytest.fixture(scope="module")
def pair():
    return [c.model("lab:mirror"), c.model("lab:order")]


def test_all_weight_on_one_model_is_that_model(pair):
    alone = pair[0].generate(["mirror a b c ="], c.Sampling(max_tokens=8))[0].text
    for mean in ("arithmetic", "geometric"):
        swarm = TokenSwarm(pair, weight=[1, 0], mean=mean)
        assert swarm.generate(["mirror a b c ="], c.Sampling(max_tokens=8))[0].text == alone


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_weights_of_either_sign_give_distributions(pair, mean):
    (rows,) = TokenSwarm(pair, weight=[1.5, -0.5], mean=mean).open().feed([[5, 6, 7]])
    p = rows.exp()
    assert bool((p >= 0).all())
    torch.testing.assert_close(p.sum(-1), torch.ones(3))


@pytest.mark.parametrize("weight", [[0.3, 0.7], [1.5, -0.5]])
def test_two_copies_of_one_model_are_that_model(pair, weight):
    model = pair[0]
    (rows,) = TokenSwarm([model, model], weight=weight).open().feed([[5, 6, 7]])
    (alone,) = model.open().feed([[5, 6, 7]])
    torch.testing.assert_close(rows.exp(), alone.softmax(-1), atol=1e-6, rtol=1e-4)


def test_where_nothing_is_left_the_strongest_model_speaks():
    logits = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])]
    found = mixed(logits, [0.1, -5.0]).exp()
    assert found.argmax().item() == 0 and bool(torch.isfinite(found).all())
    nothing = mixed([logits[0], logits[0]], [0.1, -5.0]).exp()
    torch.testing.assert_close(nothing, logits[0].softmax(-1))


@pytest.mark.parametrize("weight", [[0, 0], [1], [float("nan"), 1]])
def test_what_is_no_weighting_is_refused(pair, weight):
    with pytest.raises(BadParameter, match="weight"):
        TokenSwarm(pair, weight=weight)


def test_bytes_join_models_of_different_tokenizers(pair):
    other = c.model("lab:b-echo")
    members = [c.as_bytes(pair[0], covers="all"), c.as_bytes(other, covers="all")]
    team = c.token_swarm(members, weight=[1.2, -0.2])
    (answer,) = team.generate(["mirror a b ="], c.Sampling(max_tokens=6))
    assert answer.text
