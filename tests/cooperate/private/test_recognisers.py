"""What each recogniser finds and what it leaves alone."""

from __future__ import annotations

import pytest

from consort.cooperate.private.recognisers import RECOGNISERS
from consort.cooperate.private.spans import found
from consort.core.errors import BadCheckpoint, BadParameter

FINDS = {
    "email": [
        "bob@example.com",
        "b.o+b@mail.example.org",
        "bob @ example.com",
        "bob(at)example(dot)com",
        "ünal@büro.de",
    ],
    "phone": [
        "+49 30 1234567",
        "0049 30 123456",
        "(030) 1234-5678",
        "555-123-4567",
        "13912345678",
        "+1 (555) 123-4567",
    ],
    "card": ["4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005", "5555555555554444"],
    "iban": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "gb82west12345698765432"],
    "ip_address": ["192.168.1.77", "2001:db8::ff00:42:8329", "fe80::1", "::ffff:192.0.2.1"],
    "api_key": ["sk-abcdefghij1234567890", "ghp_AbCdEfGhIjKl123456", "AKIAIOSFODNN7EXAMPLE", "x7Kq9mZ2vB4nL8pR1tY6wD3"],
    "url_credentials": [],
    "chinese_id": ["11010519491231002X", "110105 19491231 002X"],
}
PASSES = {
    "email": ["at noon @ home", "a@b", "x @ y"],
    "phone": ["in 2024", "3.14159", "12-13", "version 1.2.3.4"],
    "card": ["4111 1111 1111 1112", "1234567890123", "0000000000000000"],
    "iban": ["GB83 WEST 1234 5698 7654 32", "AB12 is a short thing here"],
    "ip_address": ["1.2.3", "999.1.1.1", "::", "12:30:45"],
    "api_key": ["internationalisation", "aaaaaaaaaaaaaaaaaaaaaaaa1", "a normal sentence"],
    "chinese_id": ["110105194912310021", "11010519491331002X"],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in FINDS.items() for v in values])
def test_finds(name: str, value: str) -> None:
    text = f"say {value}, please"
    spans = found(text, [RECOGNISERS.get(name)()])
    assert [text[s.start : s.stop] for s in spans] == [value]


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in PASSES.items() for v in values])
def test_leaves_alone(name: str, value: str) -> None:
    assert not found(f"say {value}, please", [RECOGNISERS.get(name)()])


def test_credentials_of_addresses() -> None:
    text = "https://joe:s3cret@host/x?a=1&token=abc%20d&b=2"
    spans = found(text, [RECOGNISERS.get("url_credentials")()])
    assert [text[s.start : s.stop] for s in spans] == ["joe:s3cret", "abc%20d"]


@pytest.mark.parametrize(
    "text", ["Anna Bell", "ANNA  BELL", "a.n.n.a bell", "AnnaBell", "\uff21nna\u200b Bell", "A n n a-B e l l"]
)
def test_words_in_any_spelling(text: str) -> None:
    spans = found(f"to {text}!", [RECOGNISERS.get("words")(words=["Anna Bell"])])
    assert [(s.start, s.stop) for s in spans] == [(3, 3 + len(text))]


def test_short_words_are_whole_words() -> None:
    find = [RECOGNISERS.get("words")(words=["Al", "李"])]
    assert [s.start for s in found("Also Al", find)] == [5]
    with pytest.raises(BadParameter):
        RECOGNISERS.get("words")(words=[" - "])
    with pytest.raises(BadParameter, match="no kind"):
        RECOGNISERS.get("words")(words=["a"], kind="a b")


def test_a_token_classifier(tmp_path) -> None:
    """A classifier with hand-made weights: token 5 is the first of a person, 6 the rest of one."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "met", "in", "rome", "ann", "bell"]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    labels = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
    config = BertConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=0, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=16, id2label=labels, label2id={v: k for k, v in labels.items()},
    )  # fmt: skip
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.bert.embeddings.LayerNorm.weight.fill_(1)
        for token, place in {2: 0, 3: 0, 1: 0, 4: 3, 5: 1, 6: 2}.items():
            model.bert.embeddings.word_embeddings.weight[token, place] = 5
        model.classifier.weight.copy_(torch.eye(4, 8) * 9)
    model.save_pretrained(tmp_path)
    ner = RECOGNISERS.get("ner")(str(tmp_path))
    text = "ann bell met ann in rome"
    spans = [(text[s.start : s.stop], s.kind) for s in ner.find(text)]
    assert spans == [("ann bell", "PERSON"), ("ann", "PERSON"), ("rome", "PLACE")]
    long = " ".join([text] * 5)
    assert len(list(ner.find(long))) == 15
    with pytest.raises(BadCheckpoint):
        list(RECOGNISERS.get("ner")(str(tmp_path / "none")).find("x"))
