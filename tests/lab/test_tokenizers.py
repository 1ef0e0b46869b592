"""The tokenizers: one token a word, nothing raises, answers are cut where a model would write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consort.lab.tokenizers import WORDS, byte_pairs, encode_rows, unigram, words

TEXTS = ["mirror a b c = c b a", "copy x y z = x y z"] * 20


def test_family_a_has_one_token_a_word():
    encoded = words().encode("mirror a B 7 =")
    assert [WORDS[i] for i in encoded.ids] == ["<bos>", "mirror", "a", "B", "7", "="]
    assert words().decode(encoded.ids, skip_special_tokens=True) == "mirror a B 7 ="
    assert len(WORDS) == len(set(WORDS)) == 94


@given(st.text())
def test_any_text_can_be_read(text):
    ids = words().encode(text).ids
    assert ids[0] == 1
    assert all(0 <= i < 94 for i in ids)


def test_an_unknown_word_is_unk():
    assert [WORDS[i] for i in words().encode("peel a ü").ids] == ["<bos>", "<unk>", "a", "<unk>"]


@given(st.text())
def test_byte_pairs_read_any_text_without_loss(text):
    tokenizer = byte_pairs(TEXTS, 280)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_an_answer_is_the_rest_of_the_whole_text():
    for tokenizer in (words(), byte_pairs(TEXTS, 280), unigram(TEXTS, 40)):
        ((prompt, answer),) = encode_rows(tokenizer, [("mirror a b c =", "c b a")])
        assert prompt == tokenizer.encode("mirror a b c =").ids
        assert answer[-1] == 2
        assert tokenizer.decode(prompt + answer[:-1]).strip() == "mirror a b c = c b a"
