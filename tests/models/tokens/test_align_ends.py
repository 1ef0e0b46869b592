"""Positions by end offset: the examples of the paper's four cases, bos and eos, two tokenizers trained on the spot."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consort.core.errors import Unsupported
from consort.lab.folder import wrap
from consort.lab.tokenizers import byte_pairs, unigram
from consort.models import ByteTokenizer, FakeTokenizer, HFTokenizer
from consort.models.tokens.ends import same_end, spell


def ends(tokens: list[str]) -> np.ndarray:
    return np.cumsum([len(token) for token in tokens])


CASES = [
    (["unbeliev", "able", "!"], ["un", "believ", "able", "!"], {0: 1, 1: 2, 2: 3}),
    (["un", "believ", "able"], ["unbeliev", "able"], {1: 0, 2: 1}),
    (["util", "izes"], ["utilize", "s"], {1: 1}),
    (["The", "c", "at", "sat"], ["The", "cat", "sat"], {0: 0, 2: 1, 3: 2}),
]


@pytest.mark.parametrize(("pivot", "source", "wanted"), CASES)
def test_the_four_cases(pivot, source, wanted):
    found = same_end(ends(pivot), ends(source))
    assert {i: j for i, j in enumerate(found.tolist()) if j >= 0} == wanted


def test_of_several_with_one_end_the_last_counts():
    assert same_end(np.array([0, 0, 3]), np.array([0, 0, 0, 3])).tolist() == [-1, 2, 3]
    assert same_end(np.array([]), np.array([1])).tolist() == []
    assert same_end(np.array([1]), np.array([])).tolist() == [-1]


def words() -> str:
    rng = random.Random(5)
    letters = "abcdefghij é日本語🌅"
    return " ".join("".join(rng.choice(letters) for _ in range(rng.randint(1, 9))) for _ in range(9000))


@pytest.fixture(scope="module")
def pair() -> tuple[HFTokenizer, HFTokenizer]:
    text = words()
    pieces = [text[at : at + 400] for at in range(0, len(text), 400)]
    return HFTokenizer(wrap(byte_pairs(pieces, 300))), HFTokenizer(wrap(unigram(pieces, 500)))


@settings(max_examples=40)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_nothing_raises_and_ends_are_right(pair, text):
    one, other = (spell(tokenizer, text, end=True) for tokenizer in pair)
    for spelled in (one, other):
        assert (np.diff(spelled.ends) >= 0).all()
        assert spelled.ends[0] == 0
        assert spelled.ends[-1] == len(text.encode()) + 1
    last = np.r_[one.ends[1:] != one.ends[:-1], True]
    assert ((same_end(one.ends, other.ends) >= 0) == (np.isin(one.ends, other.ends) & last)).all()


def test_two_tokenizers_trained_on_the_spot(pair):
    text = words()[:3000] + " 🌅 日本語 👩‍🚀"
    one, other = (spell(tokenizer, text) for tokenizer in pair)
    boundary = np.isin(one.ends, other.ends)
    assert (same_end(one.ends, other.ends) >= 0)[boundary].mean() >= 0.99
    assert one.ends[-1] == other.ends[-1] == len(text.encode())


def test_bytes_and_fakes_are_spelled_by_their_tokens():
    assert spell(ByteTokenizer(eos=256), "aé", end=True).ends.tolist() == [1, 2, 3, 4]
    fake = spell(FakeTokenizer("ab"), "aba")
    assert fake.ends.tolist()[-3:] == [1, 2, 3]


def test_a_tokenizer_that_does_not_spell_is_refused():
    class Odd(FakeTokenizer):
        def encode(self, text: str, *, special: bool = True) -> list[int]:
            return [1]

    with pytest.raises(Unsupported, match="do not spell"):
        spell(Odd("ab"), "a")
