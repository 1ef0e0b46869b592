"""A task line may lay context beside its prompt; it stays marked as such."""

from __future__ import annotations

import pickle

import pytest

from consort.core.errors import BadData
from consort.core.marked import Marked
from consort.data.rows import example_of


def test_context_stands_before_the_prompt_and_is_marked():
    prompt = example_of({"prompt": "Who?", "context": ["Ann did.", "Bob slept."], "target": "Ann"}, "f:1", 1).prompt
    assert prompt == "Ann did.\n\nBob slept.\n\nWho?"
    assert isinstance(prompt, Marked) and [prompt[a:b] for a, b in prompt.context] == ["Ann did.\n\n", "Bob slept.\n\n"]
    again = pickle.loads(pickle.dumps(prompt))
    assert again == prompt and again.context == prompt.context


def test_lines_without_context_are_plain():
    assert type(example_of({"prompt": "Who?"}, "f:1", 1).prompt) is str


def test_context_that_is_no_text():
    with pytest.raises(BadData, match="context"):
        example_of({"prompt": "Who?", "context": 3}, "f:1", 1)
