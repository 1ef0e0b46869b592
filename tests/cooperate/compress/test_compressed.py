"""A model that reads through a compressor: roles, chats, streams, batches, costs, and as a part of others."""

from __future__ import annotations

import pytest

from consort.cooperate.compress import Budget, Compressed, parts_of
from consort.cooperate.compress.compressors.bm25 import Bm25
from consort.cooperate.compress.compressors.first import First
from consort.cooperate.compress.compressors.selective import Selective
from consort.core.errors import BadParameter, Unsupported
from consort.core.marked import Marked
from consort.core.types import Sampling
from consort.ensemble.after.cascade import Cascade
from consort.models import FakeModel
from consort.plan import build
from consort.plan.expression import parse
from consort.plan.objects import to_plan
from consort.testing.built import open_model

PROMPT = "Rain fell on the hills all day long.\n\nThe key is under the stone.\n\nWhere is the key?"
SHORT = Sampling(max_tokens=8)


@pytest.fixture
def echo():
    return FakeModel(lambda prompt: prompt, name="echo", logprob=-1.0)


def said(model, prompt):
    (answer,) = model.generate([prompt], Sampling(max_tokens=1000))
    return answer


def test_context_is_what_stands_before_the_last_paragraph(echo):
    answer = said(Compressed(echo, Bm25(), tokens=8), PROMPT)
    assert answer.text == "The key is under the stone.\n\nWhere is the key?"
    told = answer.details["compression"]
    assert told["roles"] == "paragraphs"
    assert told["tokens_before"] == 21 and told["tokens_after"] == 7 + 5


def test_a_prompt_says_itself_what_is_context(echo):
    marked = Marked.beside("Answer shortly.\n\nWhere is the key?", ["Rain fell.", "The key is under the stone."])
    answer = said(Compressed(echo, Bm25(), tokens=8), marked)
    assert answer.text == "The key is under the stone.\n\nAnswer shortly.\n\nWhere is the key?"
    assert answer.details["compression"]["roles"] == "marked"


def test_lines_where_there_are_no_paragraphs_and_one_line_is_left_alone(echo):
    assert [p.role for p in parts_of("a b\nc d\ne?").parts] == ["context", "question"]
    made = Compressed(echo, First(), rate=0.0)
    assert said(made, "a b\nc d\ne?").text == "e?"
    answer = said(made, "one line only")
    assert answer.text == "one line only"
    assert answer.details["compression"] == {"roles": "no context", "compressor": "first"}


def test_chats_keep_their_form(echo):
    seen = []
    model = FakeModel(lambda text: text, name="echo")
    model.generate = lambda prompts, sampling: seen.append(prompts[0]) or echo.generate(["x"], sampling)
    chat = [
        {"role": "system", "content": "Be brief, and be brief again."},
        {"role": "user", "content": "an older question of mine"},
        {"role": "assistant", "content": "an older answer to that"},
        {"role": "user", "content": PROMPT},
    ]
    Compressed(model, First(), rate=0.0).generate([chat], SHORT)
    assert [m["role"] for m in seen[0]] == ["system", "user", "assistant", "user"]
    assert [m["content"] for m in seen[0]] == ["Be brief, and be brief again.", "", "", "Where is the key?"]


def test_batches_and_streams_are_single_answers():
    reader, scorer = open_model(0), open_model(1)
    model = Compressed(reader, Selective(scorer), rate=0.4)
    prompts = [PROMPT, "Ann ate soup.\n\nWho?", PROMPT]
    together = model.generate(prompts, SHORT)
    assert [a.text for a in together] == [said_alone.text for p in prompts for said_alone in model.generate([p], SHORT)]
    pieces = model.stream(PROMPT, SHORT)
    text = ""
    while True:
        try:
            text += next(pieces)
        except StopIteration as end:
            assert text == end.value.text == together[0].text
            break
    assert together[0].details["compression"]["tokens_after"] < together[0].details["compression"]["tokens_before"]


def test_the_compressor_is_paid_for_once():
    reader, scorer = open_model(0), open_model(1)
    first, again = Compressed(reader, Selective(scorer), rate=0.4).generate([PROMPT, PROMPT], SHORT)
    assert first.cost["open-1"].prompt_tokens > 60
    assert again.cost.get("open-1") is None
    assert first.cost["open-0"].prompt_tokens == first.usage.prompt_tokens < len(PROMPT) - 20


def test_scores_of_short_contexts():
    reader = open_model(0)
    made = Compressed(reader, First(), rate=0.0)
    assert made.score([(PROMPT, " Under it.")]) == pytest.approx(reader.score([("Where is the key?", " Under it.")]))
    with pytest.raises(Unsupported, match="log-likelihoods"):
        Compressed(FakeModel({}), First()).score([("a\n\nb", "c")])


def test_in_a_cascade(echo):
    unsure = FakeModel(lambda prompt: "no", name="unsure", logprob=-9.0)
    team = Cascade([Compressed(unsure, First(), rate=0.0), Compressed(echo, Bm25(), tokens=8)], threshold=0.9)
    assert said(team, PROMPT).text.startswith("The key is under")


def test_plans():
    plan = {"compressed": {"model": "lab:base", "compressor": {"selective": {"scorer": "lab:next", "rate": 0.4}}}}
    model = build(parse(plan), "model")
    assert to_plan(model)["compressed"]["compressor"]["selective"]["rate"] == 0.4
    assert parse(to_plan(model)) == parse(plan)
    assert model.compressor.scorer.name == "lab:next"
    with pytest.raises(BadParameter, match="rate and tokens"):
        Compressed(FakeModel({}), First(), rate=0.5, tokens=4)
    assert Compressed(FakeModel({}), {"first": {"unit": "sentence"}}).compressor.unit == "sentence"


def test_scorers_that_tell_no_probabilities():
    with pytest.raises(Unsupported, match="how probable"):
        Selective(FakeModel({}))


def test_compressors_are_ready_for_a_budget_of_their_own(echo):
    assert First(rate=0.25).own_budget == Budget(rate=0.25)


def test_of_an_augmented_model_only_the_evidence_is_shortened(echo):
    from consort.cooperate.retrieve.augmented import Augmented
    from consort.cooperate.retrieve.retrievers import retrievers
    from consort.knowledge.text_index import TextIndex

    index = TextIndex.of(["The key is under the stone. Rain fell on the hills for days.", "Ann keeps a key of brass."])
    team = Augmented(Compressed(echo, Bm25(), rate=0.6), retrievers.get("bm25")(index=index), k=2)
    answer = said(team, "Where is the key under a stone?")
    assert answer.details["compression"]["roles"] == "quoted evidence"
    assert "The key is under the stone." in answer.text and "Rain fell" not in answer.text
    assert answer.text.count("</source") == 2 and answer.text.endswith("Where is the key under a stone?")
    assert "quoted as data" in answer.text


def test_bm25_scores_are_those_of_retrieval():
    from consort.cooperate.compress.bm25 import bm25
    from consort.knowledge.text_index import TextIndex

    texts = ["The red key is here.", "A key, a key and a door.", "Rain fell.", "The door of the house is red."]
    found = {hit.text: hit.score for hit in TextIndex.of(texts).bm25("the red key door", 4)}
    assert bm25("the red key door", texts) == pytest.approx([found.get(text, 0.0) for text in texts])
