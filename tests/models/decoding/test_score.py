"""Log-likelihoods of tokens and of continuations."""

from __future__ import annotations

import math

import pytest
from torch import Tensor

from consort.core.errors import BadData
from consort.models import FakeTokenizer, FakeTokenModel, Session
from consort.models.decoding import score

TABLE = [[0.1, 0.2, 0.3, 0.1, 0.3], [0.4, 0.1, 0.1, 0.2, 0.2], [0.2, 0.5, 0.1, 0.1, 0.1], [0.3, 0.3, 0.2, 0.1, 0.1]]


def model(**special: bool) -> FakeTokenModel:
    return FakeTokenModel.bigram([*TABLE, [0.2] * 5], FakeTokenizer("ab ", **special), name="m")


def test_logprobs_by_hand() -> None:
    long, short, none = model().logprobs([[0, 1, 0], [2], []])
    assert long.tolist() == pytest.approx([math.log(0.2), math.log(0.4)])
    assert len(short) == len(none) == 0


def test_score_is_the_sum_over_the_continuation() -> None:
    assert model().score([("a", "ba"), ("a", "")]) == pytest.approx([math.log(0.2 * 0.4), 0.0])


def test_spaces_after_the_context_are_part_of_the_continuation() -> None:
    moved, plain = model().score([("a ", "b"), ("a", " b")])
    assert moved == plain == pytest.approx(math.log(0.3 * 0.5))


def test_an_empty_context_is_bos_or_else_eos() -> None:
    (by_bos,) = model().score([("", "a")])
    assert by_bos == pytest.approx(math.log(0.3))
    no_bos = FakeTokenModel.bigram(TABLE, FakeTokenizer("ab ", bos=False), name="m")
    (by_eos,) = FakeTokenModel.bigram([row[:4] for row in TABLE], no_bos.tokenizer).score([("", "a")])
    assert by_eos == pytest.approx(math.log(0.3) - math.log(0.9), abs=1e-6)
    with pytest.raises(BadData, match=r"pairs\[0\]: has no context"):
        FakeTokenModel(lambda t: [0.0] * 3, FakeTokenizer("ab ", bos=False, eos=False)).score([("", "a")])


def test_pairs_of_one_context_score_as_they_do_alone() -> None:
    pairs = [("ab", "a"), ("b", "a"), ("ab", "bba"), ("ab", ""), ("", "ab"), ("b", "bb"), ("ab", "a")]
    assert model().score(pairs) == pytest.approx([model().score([pair])[0] for pair in pairs])


def test_a_shared_context_is_read_once() -> None:
    class Counting(FakeTokenModel):
        read = 0

        def open(self, batch: int = 1) -> Session:
            session = super().open(batch)
            feed = session.feed

            def counted(tokens: list[list[int]], *, last: bool = False) -> list[Tensor]:
                self.read += sum(map(len, tokens))
                return feed(tokens, last=last)

            session.feed = counted  # type: ignore[method-assign, assignment]
            return session

    one = Counting(lambda t: TABLE[0], FakeTokenizer("ab "))
    one.score([("abab", "a"), ("abab", "ba"), ("abab", "b")])
    assert one.read == 5 + 1  # bos and the context once, and the first of two tokens


def test_what_does_not_fit_is_refused() -> None:
    small = model()
    small.window = 3
    assert len(small.score([("a", "bb")])) == 1  # the last token is not read
    with pytest.raises(BadData, match=r"pairs\[1\]: 4 tokens .* of m, 3"):
        small.score([("a", "b"), ("a", "bbb")])


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [[0, 1, 2, 1, 0, 0, 1], [1, 1], [2, 1, 0]]
    wanted = [x.tolist() for x in model().logprobs(lists)]
    monkeypatch.setattr("consort.models.decoding.score.MAX_LOGITS", 30)
    assert [x.tolist() for x in model().logprobs(lists)] == wanted
    assert score.MAX_LOGITS == 30
