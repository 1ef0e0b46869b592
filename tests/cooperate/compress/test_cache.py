"""Smaller caches: how many positions stay, which, and that the rest of the session stays right."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from consort.cooperate.compress.cache_compressed import CacheCompressed
from consort.cooperate.compress.eviction import Held
from consort.cooperate.compress.evictions import EVICTIONS
from consort.cooperate.compress.evictions.knorm import Knorm
from consort.cooperate.compress.evictions.observed_attention import ObservedAttention
from consort.cooperate.compress.evictions.recent import Recent
from consort.core.errors import Unsupported
from consort.core.types import Sampling
from consort.models import FakeTokenModel
from consort.plan import build
from consort.plan.expression import parse
from consort.testing import model_laws
from consort.testing.built import open_model

A, B, C = [9, 8, 7, 6, 5, 4, 9, 3, 8, 7], [50, 60, 70], [11, 12, 13]


@pytest.fixture(params=list(EVICTIONS))
def eviction(request):
    return EVICTIONS.get(request.param)()


@pytest.mark.parametrize(
    "law",
    [*model_laws.SESSION_LAWS],
    ids=lambda law: law.__name__,
)
def test_a_ratio_of_nothing_is_the_model(law):
    law(CacheCompressed(open_model(0), Knorm(), ratio=0.0))


def test_the_length_is_exact_in_every_layer(eviction):
    for ratio in (0.0, 0.3, 0.5, 0.95, 1.0):
        session = CacheCompressed(open_model(0), eviction, ratio=ratio).open(2)
        session.feed([A, B])
        assert session.inner.lengths == [math.ceil((1 - ratio) * len(A)), math.ceil((1 - ratio) * len(B))]
        assert session.inner.reached == [len(A), len(B)]


def test_logits_after_an_eviction_are_those_of_a_masked_pass():
    """Positions that `recent` forgets are as if they were masked for all that follows."""
    model = open_model(0)
    session = CacheCompressed(model, Recent(sinks=2), ratio=0.5).open(1)
    session.feed([A])
    (got,) = session.feed([C])
    ids = torch.tensor([[*A, *C]])
    n = ids.shape[1]
    seen = torch.tril(torch.ones(n, n, dtype=torch.bool))
    seen[len(A) :, 2 : len(A) - 3] = False
    mask = torch.zeros(1, 1, n, n).masked_fill(~seen, torch.finfo(torch.float32).min)
    wanted = model.module(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, len(A) :]
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)


def test_rollback_and_select(eviction):
    model = CacheCompressed(open_model(0), eviction, ratio=0.5)
    session = model.open(2)
    session.feed([A, B])
    first = session.feed([C, C])
    session.rollback([len(A) + 1, len(B)])
    again = session.feed([C[1:], C])
    torch.testing.assert_close(again[0], first[0][1:], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(again[1], first[1], atol=1e-4, rtol=1e-3)
    session.rollback([4, len(B)])
    (back, _) = session.feed([B, []], last=True)
    fresh = model.open(1).feed([[*A[:4], *B]], last=True)[0]
    torch.testing.assert_close(back, fresh, atol=1e-4, rtol=1e-3)
    session = session.select([1, 0])
    torch.testing.assert_close(session.feed([C, []])[0], first[1], atol=1e-4, rtol=1e-3)


def test_observed_attention_is_what_the_module_attends_to():
    model = open_model(0)
    eager = copy.deepcopy(model.module)
    eager.set_attn_implementation("eager")
    seen = eager(input_ids=torch.tensor([A]), output_attentions=True).attentions
    session = model.open(1)
    states = session.feed_hidden([A], [0, 1])[0].hidden
    keys = session.keys[:, 0, :, : len(A)]
    found = ObservedAttention().scores(Held(keys, keys, session.lean, states))
    counts = torch.arange(len(A), 0, -1)
    wanted = torch.stack([layer[0].view(2, 2, len(A), len(A)).mean(1).sum(1) / counts for layer in seen])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_answers_and_plans():
    model = CacheCompressed(open_model(0), "knorm", ratio=0.5)
    prompts = ["a text of some words", "b"]
    together = model.generate(prompts, Sampling(max_tokens=5))
    assert [a.tokens for a in together] == [model.generate([p], Sampling(max_tokens=5))[0].tokens for p in prompts]
    built = build(
        parse({"cache_compressed": {"model": "lab:base", "eviction": {"recent": {"sinks": 1}}, "ratio": 0.9}})
    )
    assert built.generate(["mirror : a b"], Sampling(max_tokens=3))[0].cost["lab:base"].calls == 1


def test_models_without_an_open_cache_are_refused_by_name():
    with pytest.raises(Unsupported, match="random-1"):
        CacheCompressed(FakeTokenModel.random(1), Knorm()).generate(["a"])
