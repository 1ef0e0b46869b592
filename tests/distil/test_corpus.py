"""Documents: what is learnt of texts, prompts and chats; cutting to a block; refusals with the line."""

from __future__ import annotations

import json

import pytest

from consort.core.errors import BadData
from consort.core.types import Message
from consort.distil import Document, fitted, read_corpus
from consort.models import ByteTokenizer, FakeTokenizer

BYTES = ByteTokenizer(eos=256)


def corpus(tmp_path, *rows):
    file = tmp_path / "corpus.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return read_corpus(file, BYTES)


def test_what_is_learnt(tmp_path):
    messages = [{"role": r, "content": c} for r, c in (("user", "hé"), ("assistant", "A"), ("user", "u"))]
    text, pair, chat = corpus(
        tmp_path,
        {"text": "né"},
        {"prompt": "p:", "target": ["yes", "no"], "group": "g"},
        {"messages": messages, "target": "BB"},
    )
    assert (text.text, text.spans) == ("né", ((0, 3),))
    assert (pair.text, pair.spans, pair.group) == ("p: yes", ((2, 6),), "g")
    data = chat.text.encode()
    assert [data[a:b] for a, b in chat.spans] == [b"A", b"BB"]
    assert chat.text.startswith("user: hé\nassistant: A")


def test_the_end_belongs_to_a_span_that_reaches_it():
    assert Document("abc", ((1, 3),)).learnt() == ((1, 4),)
    assert Document("abc", ((1, 3),), whole=False).learnt() == ((1, 3),)
    assert Document("abc", ((0, 2),)).learnt() == ((0, 2),)


def test_long_texts_go_on_in_the_next_document_and_lose_nothing():
    text = "wörd " * 30
    found = fitted([Document(text, ((0, len(text.encode())),))], [BYTES, FakeTokenizer("wörd ")], 40)
    assert "".join(part.text for part in found) == text
    assert all(len(part.spelled(BYTES)) <= 40 for part in found)
    assert [part.whole for part in found] == [False] * (len(found) - 1) + [True]


def test_of_a_long_prompt_nothing_may_remain():
    long = Document("p" * 50 + "answer", ((50, 56),))
    assert fitted([long], [BYTES], 40) == []
    (cut,) = fitted([long], [BYTES], 54)
    assert cut.spans[0][0] == 50
    assert not cut.whole


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p"}, "without a target"),
        ({"messages": [{"role": "user", "content": "u"}]}, "does not end with an answer"),
        ({"text": "a", "targte": "b"}, "unknown column"),
    ],
)
def test_refusals(tmp_path, row, message):
    with pytest.raises(BadData, match=message) as caught:
        corpus(tmp_path, {"text": "fine"}, row)
    assert "corpus.jsonl:2" in str(caught.value)


def test_a_template_that_rewrites_history_is_refused(tmp_path):
    class Odd(ByteTokenizer):
        def chat(self, prompt):
            return f"{len(prompt)} turns|"

    turns = [Message(role=r, content="x") for r in ("user", "assistant", "user", "assistant")]
    file = tmp_path / "c.jsonl"
    file.write_text(json.dumps({"messages": turns}))
    with pytest.raises(BadData, match="rewrites earlier turns"):
        read_corpus(file, Odd())
