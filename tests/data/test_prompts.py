"""Files of prompts and of pairs."""

from __future__ import annotations

import pytest

from consort.core.errors import BadData
from consort.data import load_pairs, load_prompts


def test_prompts_are_texts_or_chats(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a"}\n\n{"messages": [{"role": "user", "content": "b"}]}\n')
    assert load_prompts(file) == ["a", [{"role": "user", "content": "b"}]]


def test_pairs_are_contexts_and_continuations(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"context": "a", "continuation": " b"}\n')
    assert load_pairs(file) == [("a", " b")]


@pytest.mark.parametrize(
    ("load", "text", "says"),
    [
        (load_prompts, "", "no lines"),
        (load_prompts, '{"prompt": "a"}\n{"text": "b"}', "p.jsonl:2"),
        (load_prompts, "{", "p.jsonl:1"),
        (load_pairs, '{"context": "a"}', "continuation"),
        (load_pairs, '{"context": 1, "continuation": "b"}', "context"),
    ],
)
def test_bad_lines_are_named(load, text, says, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(text)
    with pytest.raises(BadData, match=says):
        load(file)
