"""Ensembles that cannot go on without a member say which one's logits are no numbers."""

from __future__ import annotations

import math

import pytest

from consort.core.errors import BadCheckpoint
from consort.core.types import Sampling
from consort.ensemble.during.abe import Abe
from consort.ensemble.during.gated_average import GatedAverage
from consort.ensemble.during.mixture_ensemble import MixtureEnsemble
from consort.ensemble.during.speculative_average import SpeculativeAverage
from consort.models import FakeTokenModel

MADE = {
    "abe": Abe,
    "speculative_average": lambda models: SpeculativeAverage(*models),
    "mixture_ensemble": lambda models: MixtureEnsemble(models, weight=[1, 1000]),
    "gated_average": lambda models: GatedAverage(models, threshold=2),
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_a_member_without_numbers_is_named(made):
    sound = FakeTokenModel.random(0, name="sound")
    broken = FakeTokenModel(lambda tokens: [math.nan] * sound.tokenizer.vocab_size, name="broken")
    team = made([sound, broken])
    temperature = 1.0 if isinstance(team, MixtureEnsemble) else 0.0
    with pytest.raises(BadCheckpoint, match="broken: gives logits that are not numbers"):
        team.generate(["ab"] * 2, Sampling(max_tokens=12, temperature=temperature))
