"""Compressors that choose sentences: BM25, extractive, exit, evidence, copies, groups."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.bm25 import bm25
from consort.cooperate.compress.compressors.abstractive import Abstractive
from consort.cooperate.compress.compressors.dedupe import Dedupe
from consort.cooperate.compress.compressors.evidence import Evidence
from consort.cooperate.compress.compressors.exit import Exit
from consort.cooperate.compress.compressors.extractive import Extractive
from consort.cooperate.compress.compressors.grouped import Grouped
from consort.cooperate.compress.grouping import communities, contiguous
from consort.models import FakeModel, FakeTokenizer, FakeTokenModel
from consort.testing.built import LETTERS, open_model

TEXT = "Rain fell all day. The key is under the red stone. Ducks ate bread. Ann slept. "
QUESTION = "Where is the key?"


def test_bm25_by_hand():
    """One of two texts of mean length has the word: idf ln(1 + 1.5 / 1.5) over 1 + 1.5."""
    assert bm25("key", ["the key", "a dog"]) == pytest.approx([math.log(2) / 2.5, 0.0])


def test_extractive_keeps_the_best_sentences_in_order():
    (found,) = Extractive(n=1).compress([Part(TEXT)], question=QUESTION)
    assert found.text == "The key is under the red stone. "
    (found,) = Extractive(n=2, similarity="dense", encoder="ngrams").compress([Part(TEXT)], question="Ann sleeps; key")
    assert len(found.kept) == 2 or found.text.count(".") == 2


def test_copies_across_documents_go():
    parts = [Part("The key is under a stone. Rain fell. "), Part("the KEY is under a stone! Ann slept. ")]
    assert [one.text for one in Dedupe().compress(parts)] == [parts[0].text, "Ann slept. "]


@pytest.fixture
def copying():
    """A letter is likely where the five letters before it stood before, followed by it."""
    texts = FakeTokenizer(LETTERS)

    def logits(tokens):
        found, last = [0.0] * texts.vocab_size, tokens[-5:]
        for i in range(len(tokens) - 5):
            if tokens[i : i + 5] == last:
                found[tokens[i + 5]] += 3.0
        return found

    return FakeTokenModel(logits, texts)


def test_exit_by_the_question(copying):
    text = "rain fell. the red key is under it. ducks ate bread. "
    (found,) = Exit(copying, by="question").compress([Part(text)], Budget(rate=0.5), "where is the red key?")
    assert found.text == "the red key is under it. "
    assert len(found.scores) == 3


def test_exit_by_a_verdict():
    """A model that says Yes exactly where the sentence shown last has the word key."""
    texts = FakeTokenizer(LETTERS)

    def logits(tokens):
        shown = texts.decode(tokens).rpartition("Sentence:")[2].partition("\n")[0]
        liked = "Y" if "key" in shown else "N"
        return [4.0 if c == liked else 0.0 for c in LETTERS] + [0.0, 0.0]

    model = FakeTokenModel(logits, texts)
    (found,) = Exit(model).compress([Part("Rain fell. The key is here. Ann slept. ")], Budget(rate=0.5), QUESTION)
    assert found.text == "The key is here. "


def test_evidence_is_what_the_answer_rests_on(copying):
    text = "rain fell. the stone is purple. ducks ate bread. "
    made = Evidence(copying, answer="the stone is purple")
    (found,) = made.compress([Part(text)], Budget(rate=0.5), "what of the stone?")
    assert found.text == "the stone is purple. "


def cost(vectors, cuts):
    return sum(((part - part.mean(0)) ** 2).sum() for part in np.split(vectors, cuts))


@pytest.mark.parametrize("n", [1, 2, 5, 9, 12])
def test_contiguous_groups_are_the_best_there_are(n):
    vectors = np.random.default_rng(n).normal(size=(n, 3))
    for k in range(1, min(n, 5) + 1):
        found = contiguous(vectors, k)
        assert [i for group in found for i in group] == list(range(n)) and len(found) == k
        best = min(cost(vectors, cuts) for cuts in itertools.combinations(range(1, n), k - 1))
        assert cost(vectors, [group[0] for group in found[1:]]) == pytest.approx(best)


def test_communities_are_seeded():
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(4), 5, 0) + rng.normal(size=(20, 4)) / 10
    one, other = (communities(vectors, seed=3) for _ in range(2))
    assert one == other
    assert sorted(map(sorted, one)) == [list(range(i, i + 5)) for i in range(0, 20, 5)]


def test_groups_of_one_are_copied_and_others_written():
    model = FakeModel(lambda prompt: "Short.", name="writer")
    made = Grouped(model=model, encoder="ngrams")
    found = made.compress([Part("The red cat sat. The red cat sat down. Prices rose. ")], Budget(tokens=10))
    assert found[0].text.strip() in ("Short.\nPrices rose.", "Short.")
    assert found[0].kept == ()


def test_an_empty_summary_leaves_nothing_behind():
    made = Abstractive(FakeModel(lambda prompt: "" if "Rain" in prompt else "The key: under a stone.", name="writer"))
    parts = [
        Part("Rain fell on the hills for days.\n\n"),
        Part("The key is under the red stone, I say.\n\n"),
        Part(QUESTION, "question"),
    ]
    found = made.compress(parts, Budget(rate=0.8))
    assert [one.text for one in found] == ["", "The key: under a stone.\n\n", QUESTION]


def test_auto_takes_the_sentences_of_the_questions_words_and_else_asks_the_scorer():
    from consort.cooperate.compress.compressors.auto import Auto

    text = "Rain fell. The key is under the stone. Bob ate soup. "
    for question, tokens, wanted in (
        ("Where is the key?", 40, "bm25"),
        ("Wo?", 40, "longllmlingua"),
        ("key?", 3, "longllmlingua"),
    ):
        [one] = Auto(open_model(0)).compress([Part(text)], Budget(tokens=tokens), question)
        assert one.notes["chosen"] == wanted and one.text
    assert Auto().compress([Part(text)], Budget(tokens=8), "Wo?")[0].notes["chosen"] == "bm25"
    assert Auto().compress([Part(text)], Budget(tokens=4))[0].notes["chosen"] == "first"
