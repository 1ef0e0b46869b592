"""Speculation changes nothing: greedy answers token for token, sampled ones by chi-square against exact odds."""

from __future__ import annotations

import pytest

from consort.core.types import Sampling
from consort.testing import speculation_laws as laws
from consort.testing.speculation_laws import DRAFTERS, pair_of

PROCESSORS = {
    "temperature": Sampling(temperature=0.7),
    "top_k": Sampling(temperature=1.0, top_k=5),
    "top_p": Sampling(temperature=1.0, top_p=0.8),
    "min_p": Sampling(temperature=1.0, min_p=0.1),
    "penalties": Sampling(temperature=0.9, repetition_penalty=1.3, presence_penalty=0.5),
}


def sampling_of(processor: str, max_tokens: int = 4, seed: int = 11) -> Sampling:
    from dataclasses import replace

    return replace(PROCESSORS[processor], max_tokens=max_tokens, seed=seed)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_distribution(drafter: str, processor: str, kind: str) -> None:
    target, draft = pair_of(kind, trees="tree" in drafter)
    samples = 150 if "tree" in drafter else 500  # trees are read branch by branch here
    laws.same_distribution(DRAFTERS[drafter](target, draft), target, sampling_of(processor), samples, length=4)


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_distribution_of_many(drafter: str, processor: str, kind: str) -> None:
    target, draft = pair_of(kind, trees="tree" in drafter)
    samples = 3000 if "tree" in drafter else 20_000
    laws.same_distribution(DRAFTERS[drafter](target, draft), target, sampling_of(processor), samples, length=4)
