"""Alignment of a corpus: modes, resumption, agreement with the plain functions."""

from __future__ import annotations

import numpy as np
import pytest

from consort.core.errors import OutputExists
from consort.distil import Alignment, Document, align
from consort.distil import pairing as module
from consort.lab.folder import wrap
from consort.lab.tokenizers import byte_pairs, unigram
from consort.models import HFTokenizer
from consort.models.tokens.align import token_bytes
from consort.models.tokens.dtw import spellings
from consort.models.tokens.ends import same_end

TEXTS = [
    f"the river of {a}{b} is called {b}{a} , is it ?" for a in ("lom", "ardis", "né") for b in ("osk", "yar", "日")
]
DOCUMENTS = [Document(text, ((0, len(text.encode())),)) for text in TEXTS]


@pytest.fixture(scope="module")
def pair():
    return HFTokenizer(wrap(byte_pairs(TEXTS, 300))), HFTokenizer(wrap(unigram(TEXTS, 60)))


def test_partners_are_those_of_the_same_end(tmp_path, pair):
    found = align(*pair, DOCUMENTS, tmp_path / "pair", Alignment())
    for document in DOCUMENTS:
        one, other = (document.spelled(tokenizer) for tokenizer in pair)
        wanted = same_end(one.ends, other.ends)[:-1]
        wanted[wanted == len(other) - 1] = -1
        assert found.partners(document).tolist() == wanted.tolist()
        assert (wanted >= 0).mean() > 0.4
    assert found.ids[pair[1].eos] == pair[0].eos


def strings(tokenizer, document):
    return spellings(tokenizer, document.spelled(tokenizer).ids.tolist())


@pytest.mark.parametrize("rule", ["default", "hard", "soft"])
@pytest.mark.parametrize("map_", ["statistics", "official", "min_edit"])
def test_the_official_rules_hold_at_every_position(tmp_path, pair, rule, map_):
    found = align(*pair, DOCUMENTS, tmp_path / "pair", Alignment(positions="official", rule=rule, map=map_))
    aligned = total = 0
    for document in DOCUMENTS:
        ours, theirs = strings(pair[0], document), strings(pair[1], document)
        for i, j in enumerate(found.partners(document).tolist()):
            total += 1
            if j >= 0:
                aligned += 1
                one, other = ours[i].strip(), theirs[j].strip()
                ends = one.endswith(other) or other.endswith(one)
                joined = any(b"".join(theirs[j - n : j + 1]).strip() == one for n in range(1, 6))
                assert {"hard": one == other, "soft": True, "default": ends or joined}[rule]
    assert aligned > 0.25 * total


class Killed(BaseException): ...


def test_a_killed_alignment_goes_on_with_the_next_shard(tmp_path, pair, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 4)
    align(*pair, DOCUMENTS, tmp_path / "whole", Alignment())
    real, calls = module._partners, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(module, "_partners", dies)
    with pytest.raises(Killed):
        align(*pair, DOCUMENTS, tmp_path / "killed", Alignment())
    align(*pair, DOCUMENTS, tmp_path / "killed", Alignment())
    assert len(calls) == 6 + 5
    one, other = ({f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ("whole", "killed"))
    assert one == other


def test_equal_tokenizers_are_aligned_one_to_one(tmp_path, pair):
    found = align(pair[0], HFTokenizer(pair[0].tokenizer), DOCUMENTS, tmp_path / "pair", Alignment())
    partners = found.partners(DOCUMENTS[0])
    assert partners.tolist() == np.arange(len(partners)).tolist()
    assert found.ids.tolist() == list(range(pair[0].vocab_size))


def test_another_alignment_in_the_folder_is_refused(tmp_path, pair):
    align(*pair, DOCUMENTS, tmp_path / "pair", Alignment())
    with pytest.raises(OutputExists):
        align(*pair, DOCUMENTS, tmp_path / "pair", Alignment(map="exact"))


def test_statistics_count_what_begins_at_one_place(tmp_path, pair):
    found = align(*pair, DOCUMENTS, tmp_path / "pair", Alignment(map="statistics"))
    ours, theirs = (token_bytes(tokenizer) for tokenizer in pair)
    named = [(theirs[i], ours[j]) for i, j in enumerate(found.ids.tolist()) if j >= 0 and theirs[i] and ours[j]]
    begins = [a.startswith(b) or b.startswith(a) for a, b in named]
    assert len(named) > 30
    assert np.mean(begins) == 1


def test_texts_that_share_no_boundary_have_nothing_to_count(tmp_path, pair):
    documents = [Document("q", ((0, 1),), whole=False)]
    found = align(*pair, documents, tmp_path / "pair", Alignment(map="statistics"))
    assert (found.ids >= 0).any()
