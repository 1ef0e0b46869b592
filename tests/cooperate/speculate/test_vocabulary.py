"""Pairs of tokens: equal bytes, one to one, whatever the order of a vocabulary."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from consort.cooperate.speculate import Speculate
from consort.cooperate.speculate.rounds.vocabulary import pair
from consort.core.errors import Incompatible
from consort.models import ByteTokenizer, FakeTokenizer, FakeTokenModel, HFTokenizer, TokenModel
from consort.models.base import Tokenizer
from consort.models.tokens.align import token_bytes


def holder(tokenizer: Tokenizer, name: str) -> TokenModel:
    model = FakeTokenModel(lambda tokens: [0.0] * tokenizer.vocab_size, FakeTokenizer(), name=name)
    model.tokenizer = tokenizer  # type: ignore[assignment]
    return model


def tokenizer_of(folder: Path) -> HFTokenizer:
    from transformers import PreTrainedTokenizerFast

    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")), eos=0)


@pytest.mark.parametrize("names", [("gpt2", "gpt-neox-20b"), ("mistral-v03-hf", "gpt2"), ("gpt2", "bytes")])
def test_pairs_mean_the_same_bytes(shared: Path, names: tuple[str, str]) -> None:
    ours, theirs = (
        ByteTokenizer(eos=255) if name == "bytes" else tokenizer_of(shared / "tokenizers" / name) for name in names
    )
    found = pair(holder(ours, names[0]), holder(theirs, names[1]))
    bytes_of = [token_bytes(ours), token_bytes(theirs)]
    assert not found.same
    assert len(set(found.t_ids.tolist())) == len(set(found.d_ids.tolist())) == len(found.t_ids) > 200
    for t, d in zip(found.t_ids.tolist(), found.d_ids.tolist(), strict=True):
        assert bytes_of[0][t] == bytes_of[1][d] or (t, d) in {(ours.eos, theirs.eos), (ours.bos, theirs.bos)}


def test_the_order_of_a_vocabulary_changes_nothing(shared: Path) -> None:
    ours, theirs = (tokenizer_of(shared / "tokenizers" / name) for name in ("gpt2", "gpt-neox-20b"))
    wanted = pair(holder(ours, "a"), holder(theirs, "b"))
    vocabulary = list(theirs.tokenizer.get_vocab().items())
    random.Random(0).shuffle(vocabulary)
    shuffled = tokenizer_of(shared / "tokenizers" / "gpt-neox-20b")
    shuffled.tokenizer.get_vocab = lambda: dict(vocabulary)
    got = pair(holder(ours, "a"), holder(shuffled, "b"))
    assert torch.equal(got.t_ids, wanted.t_ids)
    assert torch.equal(got.d_ids, wanted.d_ids)


def test_logits_go_to_their_tokens() -> None:
    found = pair(holder(FakeTokenizer("abc"), "a"), holder(FakeTokenizer("cbx"), "b"))
    assert list(zip(found.t_ids.tolist(), found.d_ids.tolist(), strict=True)) == [(1, 1), (2, 0), (3, 3), (4, 4)]
    given = torch.tensor([[1.0, 2.0, 9.0, 3.0, 4.0]])
    assert found.logits(given, 6).tolist() == [[-torch.inf, 2.0, 1.0, 3.0, 4.0, -torch.inf]]
    probabilities = found.logits(given, 6).softmax(-1)
    assert torch.allclose(probabilities[0, [1, 2, 3, 4]], given[0, [1, 0, 3, 4]].softmax(-1))


def test_a_padded_draft_is_cut_to_real_tokens() -> None:
    tokenizer = FakeTokenizer("ab")
    found = pair(holder(tokenizer, "a"), holder(FakeTokenizer("ab"), "b"))
    assert found.same
    assert found.logits(torch.arange(7.0).view(1, -1), 5).tolist() == [[0.0, 1.0, 2.0, 3.0, -torch.inf]]
    assert found.prompt([0, 6, 1]) == [0, 1]


def test_equal_sizes_are_no_equal_vocabularies() -> None:
    found = pair(holder(FakeTokenizer("abc"), "a"), holder(FakeTokenizer("cab"), "b"))
    assert not found.same
    assert dict(zip(found.t_ids.tolist(), found.d_ids.tolist(), strict=True)) == {0: 1, 1: 2, 2: 0, 3: 3, 4: 4}


def test_bytes_wait_until_a_character_is_whole() -> None:
    found = pair(holder(ByteTokenizer(), "bytes"), holder(FakeTokenizer("aé"), "letters"))
    first, second = "é".encode()
    assert found.read([97, first], b"") == ([0], bytes([first]))
    assert found.read([second], bytes([first])) == ([1], b"")
    assert found.read([first, 97], b"") == ([], b"") or found.read([first, 97], b"")[0] == [0]
    assert found.read([0x80, 97], b"")[0] == [0]


def test_vocabularies_without_a_common_token_are_refused_by_name() -> None:
    ours = FakeTokenModel.random(1, FakeTokenizer("abc"), name="ours")
    theirs = FakeTokenModel.random(2, FakeTokenizer("xyz"), name="theirs")
    with pytest.raises(Incompatible, match="draft: the tokenizers of ours and theirs share no token"):
        Speculate(ours, theirs).generate(["a"])
