"""Tokens of different tokenizers side by side."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from consort.lab import path
from consort.models import ByteTokenizer, FakeTokenizer, HFTokenizer
from consort.models.tokens.align import (
    Nearest,
    Pieces,
    UnionTokenizer,
    carry,
    coverage,
    exact_map,
    first_map,
    first_piece,
    token_bytes,
    union_of,
)


@cache
def tokenizer(folder: Path) -> HFTokenizer:
    from transformers import PreTrainedTokenizerFast

    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")))


def lab(name: str) -> HFTokenizer:
    return tokenizer(path(name))


def test_bytes_of_the_plain_tokenizers() -> None:
    assert token_bytes(FakeTokenizer("ab")) == (b"a", b"b", None, None)
    assert token_bytes(ByteTokenizer(eos=256))[0x41] == b"A"
    assert token_bytes(ByteTokenizer(eos=256))[0xE4] == b"\xe4"
    assert token_bytes(ByteTokenizer(eos=256))[256] is None


@pytest.mark.parametrize("name", ["b-base", "pivot", "teacher-north", "teacher-south"])
@pytest.mark.parametrize("text", ["the river of Lumen is called", "mirror a b c =", "zz: (x)"])
def test_tokens_spell_the_text(name: str, text: str) -> None:
    pieces, tokens = token_bytes(lab(name)), lab(name).encode(text, special=False)
    if None not in (spelt := [pieces[token] for token in tokens]):
        assert b"".join(piece or b"" for piece in spelt).decode().removeprefix(" ") == text


def test_a_word_brings_the_space_before_it() -> None:
    base, other = token_bytes(lab("base")), token_bytes(lab("b-base"))
    assert base[78] == b" mirror"
    assert base[1] is None
    assert int(exact_map(other, base)[other.index(b" a")]) == base.index(b" a")
    assert coverage(base, base) == 1.0


def test_first_pieces() -> None:
    own = lab("b-base")
    first, pieces = first_piece(own), token_bytes(own)
    for text in (b" a", b"mirror", b" =", b"\xff"):
        found = pieces[first(text)]
        assert found is not None
        assert text.startswith(found)
    assert pieces[first(b"mirror")] == pieces[own.encode("mirror", special=False)[0]]
    assert first_piece(FakeTokenizer("ab"))(b"ba") == 1
    assert first_piece(FakeTokenizer("ab"))(b"x") == -1
    assert first_map((b"ba", b"x", None, b"a"), FakeTokenizer("ab")).tolist() == [1, -1, -1, 0]


def test_carry_sums_what_falls_together() -> None:
    p = torch.tensor([[0.5, 0.2, 0.2, 0.1]])
    assert carry(p, torch.tensor([1, 1, -1, 0]), 3)[0].tolist() == pytest.approx([0.1, 0.7, 0])


def levenshtein(a: bytes, b: bytes) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@given(st.binary(max_size=6), st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=8))
def test_nearest_is_by_edit_distance(text: bytes, pieces: list[bytes]) -> None:
    nearest = Nearest(tuple(pieces))
    wanted = [levenshtein(text, piece) for piece in pieces]
    assert nearest.distances(text).tolist() == wanted
    assert nearest(text) == wanted.index(min(wanted))


def test_the_union_reads_every_token() -> None:
    one, other = lab("b-base"), lab("pivot")
    both = UnionTokenizer([one, other])
    assert both.pieces[: one.vocab_size] == token_bytes(one)
    texts = {piece for piece in (*token_bytes(one), *token_bytes(other)) if piece is not None}
    assert texts == {piece for piece in both.pieces if piece is not None}
    for token in range(one.vocab_size, both.vocab_size):
        assert b"".join(token_bytes(one)[t] or b"" for t in both.own([token])) == both.pieces[token]
    assert union_of([one, lab("b-echo")]) is one


SHARES = {
    ("gpt2", "gpt-neox-20b"): 0.7350,
    ("gpt2", "mistral-v03-hf"): 0.4226,
    ("gpt2", "llama3"): 0.8598,
    ("mistral-v03-hf", "gpt2"): 0.6677,
    ("llama3", "gpt2"): 0.3376,
}


@cache
def pieces_of(folder: Path) -> Pieces:
    if (folder / "tokenizer.json").is_file():
        return token_bytes(tokenizer(folder))
    return tuple(base64.b64decode(line.split()[0]) for line in (folder / "tokenizer.model").read_bytes().splitlines())


@pytest.mark.parametrize(("source", "target"), SHARES)
def test_coverage_of_real_vocabularies(shared: Path, source: str, target: str) -> None:
    folder = shared / "tokenizers"
    found = coverage(pieces_of(folder / source), pieces_of(folder / target))
    assert found == pytest.approx(SHARES[source, target], abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-20b", "mistral-v03-hf"])
def test_real_tokens_spell_real_text(shared: Path, name: str) -> None:
    own = tokenizer(shared / "tokenizers" / name)
    text = "It was the best of times,  it was — naïve — the wörst; 日本語 = 42.\n\n\tEnd"
    spelt = b"".join(token_bytes(own)[token] or b"" for token in own.encode(text, special=False))
    assert spelt.decode().removeprefix(" " if name.startswith("mistral") else "") == text
