"""Exact scorers and small real ones."""

from __future__ import annotations

import json
import math

import pytest

from consort.models import FakeTokenizer, FakeTokenModel, load_model


@pytest.fixture(scope="session")
def stories(shared):
    lines = (shared / "eval/tinystories/stories.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="session")
def small(shared):
    """A real model of 260,000 weights; its window is 512 tokens."""
    return load_model(shared / "models/stories260K")


@pytest.fixture
def stepwise():
    """Over `abcde`, the next letter of the alphabet costs what is told, in nats; all others share the rest."""

    def make(costs, **more):
        texts = FakeTokenizer("abcde", bos=False, eos=False)

        def logits(tokens):
            after = tokens[-1] + 1
            if after not in costs:
                return [0.0] * 5
            p = math.exp(-costs[after])
            return [math.log(p) if i == after else math.log((1 - p) / 4) for i in range(5)]

        return FakeTokenModel(logits, texts, **more)

    return make
