"""A server of small exact models, for all tests that ask it."""

from __future__ import annotations

import json

import httpx
import pytest

import consort as c
from consort.models.fake import FakeModel, FakeTokenizer, FakeTokenModel
from consort.server.run import Server

ALPHABET = "abc " + "".join(chr(i) for i in range(33, 127) if chr(i) not in "abc") + "\n"


def letters(seed, **options):
    return FakeTokenModel.random(seed, FakeTokenizer(ALPHABET), name=f"letters-{seed}", **options)


def models():
    a, b = letters(1), letters(2)
    sure = FakeModel(lambda text: f"sure of {text}", name="sure", logprob=lambda text: -9.0 if "hard" in text else -0.1)
    strong = FakeModel(lambda text: f"strong on {text}", name="strong", logprob=-0.01)
    voters = [FakeModel(lambda text: "yes", name="first"), FakeModel(lambda text: "no", name="second")]
    return {
        "letters": a,
        "average": c.average([a, b]),
        "speculate": c.speculate(a, b),
        "cascade": c.cascade([sure, strong], threshold=0.5),
        "vote": c.vote([*voters, FakeModel(lambda text: "yes", name="third")]),
        "echo": FakeModel(lambda text: text, name="echo"),
        "windowed": FakeTokenModel.random(3, FakeTokenizer(ALPHABET), name="windowed"),
    }


@pytest.fixture(scope="session")
def served():
    made = models()
    made["windowed"].window = 32
    return made


@pytest.fixture(scope="session")
def server(served):
    with Server(models=served, port=0, queue=64) as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made


def chat(text="abc", **fields):
    return {"model": "letters", "messages": [{"role": "user", "content": text}], "max_tokens": 8, **fields}


def events(text):
    """The data of an event stream; the last is the string [DONE]."""
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") for block in blocks), text
    found = [block.removeprefix("data: ") for block in blocks]
    return [json.loads(data) if data != "[DONE]" else data for data in found]
