"""Agreement-based ensembling: scores, compatibility, and the law that copies of a model are its beam search."""

from __future__ import annotations

from math import log

import pytest
import torch

from consort import lab
from consort.core.errors import BadData, Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.abe import Abe, Part, Spelling, compatible, moving, score
from consort.models import load_model
from consort.testing.built import open_model


def test_number():
    parts = [Part((1,), b"a", log(0.2)), Part((2,), b"ab", log(0.1))]
    assert score(parts, [0.5, 0.5]) == pytest.approx(-1.956012, abs=1e-6)
    longer = [Part((1, 1), b"ab", 2 * log(0.2)), parts[1]]
    assert score(longer, [0.5, 0.5]) == pytest.approx(-1.956012, abs=1e-6)  # each by its own length


def test_the_longest_text_begins_with_all_others_and_those_behind_go_on():
    def parts(*texts, ended=()):
        return [Part((1,), text, -1.0, i in ended) for i, text in enumerate(texts)]

    assert compatible(parts(b"ab", b"abc", b"")) and not compatible(parts(b"ab", b"ac"))
    assert not compatible(parts(b"ab", b"abc", ended=[0])) and compatible(parts(b"abc", b"ab", ended=[0]))
    assert moving(parts(b"ab", b"abc", b"a")) == [0, 2] and moving(parts(b"ab", b"ab")) == [0, 1]
    assert moving(parts(b"ab", b"ab", ended=[0])) == [1] and moving(parts(b"ab", b"ab", ended=[0, 1])) == []


class Spelt:
    """A model of these tokens, and its tokenizer; the last ends a text."""

    def __init__(self, *texts):
        self.ends, self.pieces, self.tokenizer = {len(texts)}, (*texts, None), self


def test_tokens_that_agree_with_a_text():
    spelling = Spelling(Spelt(b"a", b"ab", b"abc", b"b", b"a\xff", b"\xff\xff"))

    def texts(rest, ended=False):
        found = spelling.agreeing(rest, ended=ended)
        return {spelling.bytes[i] for i in found.tolist()}

    assert texts(b"ab") == {b"a", b"ab", b"abc"} and texts(b"ab", ended=True) == {b"a", b"ab"}
    assert texts(b"a") == {b"a", b"ab", b"abc", b"a\xff"} and texts(b"\xff") == {b"\xff\xff"} and texts(b"c") == set()
    assert texts(b"", ended=True) == {None} and len(texts(b"")) == 7


def beam_search(model, prompt, beams, length):
    """Of all hypotheses of a beam the best by mean log-probability, finished where there are finished ones."""
    head, beam, done = model.tokenizer.encode(prompt), [((), 0.0)], []
    while beam and len(done) < beams:
        found = []
        for tokens, logp in beam:
            session = model.open(1)
            values = session.feed([[*head, *tokens]], last=True)[0][-1].log_softmax(-1)
            found += [((*tokens, t), logp + float(v)) for t, v in enumerate(values) if torch.isfinite(v)]
        found.sort(key=lambda one: -one[1] / len(one[0]))
        over = [one for one in found[:beams] if one[0][-1] in model.ends or len(one[0]) >= length]
        done += over
        beam = [one for one in found[:beams] if one not in over]
    return max(done or beam, key=lambda one: one[1] / len(one[0]))


@pytest.mark.parametrize("beams", [1, 3])
def test_copies_are_the_beam_search_of_the_model(beams):
    model = open_model(3)
    for prompt in ("ab", "hello "):
        tokens, logp = beam_search(model, prompt, beams, 6)
        for copies in (1, 2):
            found = Abe([model] * copies, beams=beams, effort=3000).generate([prompt], Sampling(max_tokens=6))[0]
            assert found.tokens == tokens and found.details["alone"] == 0
            assert found.details["score"] == pytest.approx(logp / len(tokens), abs=1e-4)


def test_models_of_different_tokenizers_agree_on_a_text():
    words, pieces = (load_model(lab.path(name)) for name in ("base", "b-base"))
    assert words.tokenizer.vocabulary_key != pieces.tokenizer.vocabulary_key
    found = Abe([words, pieces]).generate(["rev a b c =", "copy d e f ="], Sampling(max_tokens=12))
    assert [one.text.strip() for one in found] == ["c b a", "d e f"]
    assert all(one.finish_reason == "stop" and one.details["score"] > -0.2 for one in found)
    assert all(set(one.cost) == set(one.details["calls"]) == {words.name, pieces.name} for one in found)
    cut = Abe([words, pieces]).generate(["rev a b c ="], Sampling(max_tokens=12, stop=("b",)))[0]
    assert cut.text.strip() == "c" and cut.finish_reason == "stop"


def test_where_no_tuple_agrees_the_heaviest_goes_on_alone():
    """With one tuple a step, the two favourites; they differ."""
    first, second = open_model(0), open_model(1)
    found = Abe([first, second], weight=[3, 1], beams=1, effort=1).generate(["ab"], Sampling(max_tokens=5))[0]
    assert found.details["alone"] > 0
    greedy = first.generate(["ab"], Sampling(max_tokens=5))[0]
    assert found.tokens == greedy.tokens and found.text == greedy.text  # the second has followed


def test_what_it_refuses():
    model = open_model(0)
    for sampling in (Sampling(temperature=0.5), Sampling(min_tokens=1)):
        with pytest.raises(Unsupported):
            Abe([model]).generate(["ab"], sampling)
    assert Abe([model]).generate(["ab"], Sampling(max_tokens=0))[0].text == ""
    with pytest.raises(BadData):
        Abe([model]).generate(["a" * 5000])
