"""Checks on real text: what is kept tells more of what follows than what is drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressors.random import Random
from consort.cooperate.compress.compressors.selective import Selective


@pytest.mark.slow
def test_what_follows_is_likelier_after_selection_than_after_chance(small, stories):
    """Perplexity of a story's second half at rate .5, paired bootstrap over 60 stories, p < .05."""

    def gains(story):
        cut = len(story) // 2
        head, tail = story[:cut], story[cut : cut + 200]
        found = []
        for made in (Selective(small, unit="word"), Random()):
            (short,) = made.compress([Part(head)], Budget(rate=0.5), reader=small.tokenizer)
            found.append(small.score([(short.text, tail)])[0] / len(tail))
        return found[0] - found[1]

    values = np.array([gains(story) for story in stories[:60]])
    drawn = np.random.default_rng(0).choice(values, (4000, len(values))).mean(1)
    assert values.mean() > 0 and (drawn <= 0).mean() < 0.05
