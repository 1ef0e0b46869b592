"""Selective Context and the LLMLingua family: which token is whose, what is read, what stays."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors.llmlingua import Llmlingua
from consort.cooperate.compress.compressors.selective import Selective
from consort.cooperate.compress.parts import Span, text_of
from consort.cooperate.compress.segments import Prefix
from consort.cooperate.compress.selecting import Scored
from consort.cooperate.compress.surprisal import mean_by_unit, owners, read, surprisals, windows
from consort.cooperate.compress.units import words

RARE = "zyxquorb"


def test_by_hand(stepwise):
    """Tokens b c d e cost 1, 5, 2, 9 nats; the first is scored 0: at rate .4 c and e stay."""
    (found,) = Llmlingua(stepwise({1: 1, 2: 5, 3: 2, 4: 9}), unit="token").compress([Part("abcde")], Budget(rate=0.4))
    assert found.text == "ce"
    assert found.scores == pytest.approx((0, 1, 5, 2, 9), abs=1e-5)
    assert found.kept == (Span(2, 3), Span(4, 5))


def test_a_first_token_that_follows_nothing_is_kept_by_selective(stepwise):
    made = Selective(stepwise({1: 1, 2: 5, 3: 2, 4: 9}), unit="token")
    assert made.compress([Part("abcde")], Budget(rate=0.4))[0].text == "ae"


class Shifted(Compressor):
    """The off-by-one filter of the published code: the surprise of each token is laid on the token before it."""

    def __init__(self, scorer):
        self.scorer = scorer

    @property
    def members(self):
        return (self.scorer,)

    def shorten(self, job: Job):
        (text,) = job.texts
        tokens = read(self.scorer.tokenizer, text)
        (nll,) = surprisals(self.scorer, [tokens.ids])
        units = words(text)
        own = owners(tokens.ends, units)
        per_word = mean_by_unit(nll, own, len(units))
        return job.selected([Scored(text, units, np.append(per_word[1:], 0.0).tolist())])


@pytest.fixture(scope="module")
def planted(stories):
    rng, found = random.Random(0), []
    for story in stories[:100]:
        line = story.split()[:40]
        line.insert(rng.randrange(8, 35), RARE)
        found.append(" ".join(line))
    return found


def survivors(made, texts):
    return sum(RARE in made.compress([Part(text)], Budget(rate=0.2))[0].text for text in texts)


def test_a_planted_surprise_survives(small, planted):
    assert survivors(Llmlingua(small), planted) >= 95
    assert survivors(Selective(small, unit="word"), planted) >= 95


def test_the_trap_catches_a_filter_that_is_off_by_one(small, planted):
    assert survivors(Shifted(small), planted) < 95


@pytest.mark.parametrize("kind", [Selective, Llmlingua])
@pytest.mark.parametrize("length", [1, 2, 3, 10, 149, 150, 200, 201, 400, 1500])
def test_the_budget_is_met_to_a_token(kind, length, small, stories):
    text = small.tokenizer.decode(small.tokenizer.encode("\n".join(stories[:20]), special=False)[:length])
    for rate in (0.1, 0.3, 0.5, 0.9):
        (found,) = kind(small, unit="token").compress([Part(text)], Budget(rate=rate))
        assert 0 <= Budget(rate=rate).most(found.tokens_before) - found.tokens_after <= 1


@pytest.mark.slow
@pytest.mark.parametrize("length", [5000, 20000])
@pytest.mark.parametrize("kind", [Selective, Llmlingua])
def test_the_budget_of_long_texts(kind, length, small, stories):
    text = small.tokenizer.decode(small.tokenizer.encode("\n".join(stories), special=False)[:length])
    for rate in (0.1, 0.5, 0.9):
        (found,) = kind(small, unit="token").compress([Part(text)], Budget(rate=rate))
        assert 0 <= Budget(rate=rate).most(found.tokens_before) - found.tokens_after <= 1


def test_segments_read_after_what_is_kept_of_the_text(small, stories):
    """Cached scores equal one pass over the compressed prefix and the segment."""
    ids = small.tokenizer.encode(stories[0], special=False)[:90]
    prefix = Prefix(small, [[small.tokenizer.bos]])
    first = prefix.surprisal(ids[:40])
    prefix.keep(ids[:40], 40)
    whole = -small.logprobs([[small.tokenizer.bos, *ids[:80]]])[0]
    second = prefix.surprisal(ids[40:80])
    torch.testing.assert_close(torch.tensor(np.append(first[0], second[0])).float(), whole, atol=1e-4, rtol=1e-4)
    prefix.keep(ids[40:80:3], 40)
    kept = [*ids[:40], *ids[40:80:3]]
    third = prefix.surprisal(ids[80:])
    wanted = -small.logprobs([[small.tokenizer.bos, *kept, *ids[80:]]])[0][-10:]
    torch.testing.assert_close(torch.tensor(third[0]).float(), wanted, atol=1e-4, rtol=1e-4)


def test_windows_score_each_token_once_with_most_before_it():
    assert windows(5, 8) == [(0, 0, 5)]
    assert windows(10, 4) == [(0, 0, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)]
    assert windows(3, 1) == [(0, 0, 1), (1, 1, 2), (2, 2, 3)]


def test_windowed_scores_are_the_whole_ones_within_a_window(small, stories):
    ids = small.tokenizer.encode("".join(stories[:6]), special=False)[:700]
    (found,) = surprisals(small, [ids])
    whole = -small.logprobs([[small.tokenizer.bos, *ids[:511]]])[0].numpy()
    np.testing.assert_allclose(found[:511], whole, atol=1e-4)
    begin, scored, end = windows(700, 512)[1]
    later = -small.logprobs([[small.tokenizer.bos, *ids[begin:end]]])[0].numpy()
    np.testing.assert_allclose(found[scored:end], later[scored - end :], atol=1e-4)


def test_a_batch_of_texts_is_each_text_alone(small, stories):
    for made in (Selective(small), Selective(small, unit="word", condition="document")):
        together = made.compress([Part(s) for s in stories[:3]], Budget(threshold=3.0))
        for i, story in enumerate(stories[:3]):
            (alone,) = made.compress([Part(story)], Budget(threshold=3.0))
            assert replace(together[i], part=0, scores=None) == replace(alone, scores=None)
            assert together[i].scores == pytest.approx(alone.scores, abs=1e-4)


def test_a_scorer_of_another_tokenizer_and_a_tiny_window(small, stepwise, stories):
    from consort.testing.built import open_model

    bytewise = open_model(0)
    tiny = stepwise({1: 1, 2: 5, 3: 2, 4: 9}, window=2)
    (found,) = Llmlingua(bytewise).compress([Part(stories[0])], Budget(tokens=50), reader=small.tokenizer)
    assert found.tokens_after == len(small.tokenizer.encode(found.text, special=False))
    assert 46 <= found.tokens_after <= 50
    for kind in (Selective, Llmlingua):
        (found,) = kind(tiny, unit="token").compress([Part("abcdeabcde")], Budget(rate=0.5))
        assert found.tokens_after == 5


def test_demonstrations_of_low_perplexity_go_first(small, stories):
    dull = "Once upon a time, there was a little girl named Lily. "
    odd = "Quartz fluxes jab my big vexed waltzing sphinx over grim pylons. " * 3
    parts = [Part(dull * 8, "demonstration"), Part(odd, "demonstration")]
    first, second = Llmlingua(small, slack=0).compress(parts, Budget(tokens=60))
    assert first.text == "" and len(second.text) > 40


def test_spans_make_the_text(small, stories):
    (found,) = Llmlingua(small).compress([Part(stories[1])], Budget(rate=0.4))
    assert found.text == text_of(stories[1], found.kept)
