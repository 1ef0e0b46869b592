"""Settings of Sampling hold, or are refused by name (every strategy and setting: tests/laws)."""

from __future__ import annotations

import pytest

from consort.core.errors import BadParameter
from consort.core.types import Completion, Sampling
from consort.ensemble.during.spec_fuse import SpecFuse
from consort.models import FakeTokenizer, FakeTokenModel
from consort.testing import sampling_laws as laws


def test_B5_spec_fuse_writes_spans_as_it_is_told():
    models = [FakeTokenModel.random(seed) for seed in range(2)]
    fuse, a = SpecFuse(models, span=2), models[0].tokenizer.encode("a", special=False)[0]
    (answer,) = fuse.generate(["ab"], Sampling(max_tokens=5, logit_bias=((a, 1e4),)))
    assert answer.text == "aaaaa"
    (answer,) = fuse.generate(["ab"], Sampling(max_tokens=5, logit_bias=((a, 50.0),), presence_penalty=1e4))
    assert answer.tokens.count(a) == 1
    eos = models[0].tokenizer.eos
    (answer,) = fuse.generate(["ab"], Sampling(max_tokens=9, logit_bias=((eos, 1e4),), min_tokens=3))
    assert len(answer.text) == 3 and answer.tokens[3:] == (eos,)


def test_B5_a_bias_across_vocabularies_is_refused():
    models = [FakeTokenModel.random(0), FakeTokenModel.random(1, FakeTokenizer("abc d"))]
    with pytest.raises(BadParameter, match="different vocabularies") as refused:
        SpecFuse(models).generate(["ab"], Sampling(logit_bias=((0, 1.0),)))
    assert refused.value.field == "logit_bias"


def test_the_law_finds_what_ignores_a_setting():
    class Deaf:
        def generate(self, prompts, sampling=Sampling()):
            return [Completion("abcabc", tuple(range(6))) for _ in prompts]

    for field in laws.FIELDS:
        if field not in ("top_p", "top_k", "min_p", "typical_p", "frequency_penalty", "presence_penalty",
                         "repetition_penalty"):  # fmt: skip
            with pytest.raises(AssertionError):
                laws.sampling_holds(laws.Subject(Deaf(), FakeTokenizer()), field)
