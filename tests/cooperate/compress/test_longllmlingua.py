"""LongLLMLingua: documents ranked by the question, contrastive tokens, budgets by rank, phrases put back."""

from __future__ import annotations

import math
import re

import pytest

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressors.longllmlingua import Longllmlingua
from consort.cooperate.compress.parts import Compression, Span, joined_spans, text_of
from consort.cooperate.compress.recover import recover
from consort.core.errors import BadParameter
from consort.models import FakeTokenizer, FakeTokenModel
from consort.testing.built import LETTERS

QUESTION = "who has the key"


@pytest.fixture
def copying():
    """A letter is likely where the four letters before it stood before, followed by it."""
    texts = FakeTokenizer(LETTERS)
    size = texts.vocab_size

    def logits(tokens):
        found, last = [0.0] * size, tokens[-4:]
        for i in range(len(tokens) - 4):
            if tokens[i : i + 4] == last:
                found[tokens[i + 4]] = math.log(20 * size)
        return found

    return FakeTokenModel(logits, texts)


DOCUMENTS = [
    "rain fell on green hills all day long. ",
    "the boy who has the key is named otto. ",
    "many ships went over a grey sea then. ",
    "old bread is good for ducks, they say. ",
]


def compress(model, **more):
    parts = [*(Part(d) for d in DOCUMENTS), Part(QUESTION, "question")]
    return Longllmlingua(model, **more).compress(parts, Budget(rate=0.5))


def test_the_document_with_the_answer_ranks_first(copying):
    found = compress(copying)
    assert found[0].part == 1
    assert found[0].notes["ranking"][0] == 1
    assert found[-1].text == QUESTION


def test_orders(copying):
    assert [one.part for one in compress(copying, order="original")] == [0, 1, 2, 3, 4]
    ranking = compress(copying)[0].notes["ranking"]
    two = [one.part for one in compress(copying, order="two_stage")][:4]
    assert two == [ranking[0], ranking[2], ranking[3], ranking[1]]


def test_budgets_of_documents_are_the_whole(copying):
    found = sorted(compress(copying, slack=1000), key=lambda one: one.part)[:4]
    total, most = sum(len(d) for d in DOCUMENTS), sum(one.tokens_after for one in found)
    assert 0 <= round(total / 2) - most <= 2
    by_rank = sorted(found, key=lambda one: found[0].notes["ranking"].index(one.part))
    shares = [one.tokens_after / one.tokens_before for one in by_rank]
    assert shares[0] > 0.7 and shares[-1] < 0.3


def test_a_scorer_that_does_not_hear_the_question_finds_no_contrast():
    texts = FakeTokenizer(LETTERS)
    deaf = FakeTokenModel(lambda tokens: [float(-abs(i - tokens[-1])) for i in range(texts.vocab_size)], texts)
    found = Longllmlingua(deaf).compress([Part("old bread is good.")], Budget(rate=0.5), QUESTION)
    assert found[0].scores[1:] == pytest.approx([0.0] * (len(found[0].scores) - 1), abs=1e-6)


def test_it_needs_a_question(copying):
    with pytest.raises(BadParameter, match="needs a question"):
        Longllmlingua(copying).compress([Part(DOCUMENTS[0])], Budget(rate=0.5))


ORIGINAL = (
    "The Battle of the Golden Spurs was fought on 11 July 1302 between the County of Flanders "
    "and the Kingdom of France."
)


def short(kept):
    """The original without all words but those kept, by number."""
    words = [m.span() for m in re.finditer(r"\s*\S+", ORIGINAL)]
    spans = joined_spans([Span(*words[i]) for i in kept])
    return Compression(text_of(ORIGINAL, spans), spans, 0, 0)


@pytest.mark.parametrize("at", range(20))
def test_original_phrases_come_back(at):
    """Every second word of a run of the original is kept; the answer quotes the kept ones."""
    words = ORIGINAL.split()
    first = at % (len(words) - 4)
    done = short((first, first + 2, first + 4))
    quoted = done.text.strip().strip(".")
    assert (
        recover(f"I say {quoted} !", [ORIGINAL], [done]) == f"I say {' '.join(words[first : first + 5]).strip('.')} !"
    )


def test_what_does_not_match_is_left_alone():
    done = short((1, 4, 5))
    assert recover("A golden goose spurs on, truly.", [ORIGINAL], [done]) == "A golden goose spurs on, truly."
    far = short((0, 20))
    assert recover("The France", [ORIGINAL], [far]) == "The France"
