"""Second looks: what is found is read with the query, and what is said is looked up again."""

from __future__ import annotations

import numpy as np
import pytest

from consort.cooperate.retrieve import Augmented, MultiHop
from consort.cooperate.retrieve.retrievers.bm25 import Bm25
from consort.cooperate.retrieve.retrievers.rerank import Rerank
from consort.core.errors import BadParameter
from consort.ensemble.before.ridge import Ridge
from consort.ensemble.learning.observations import Observed
from consort.knowledge import Passage, TextIndex
from consort.models.fake import FakeModel

INDEX = TextIndex.of(
    [
        Passage("1", "The author of Dune is Herbert."),
        Passage("2", "Herbert did come from Tacoma."),
        Passage("3", "Emma has Austen to thank."),
        Passage("4", "Austen lived in Chawton."),
    ]
)


class Judge:
    """Finds that a passage helps if it has a word in capitals that the question has not."""

    name = "judge"

    def __init__(self) -> None:
        self.pairs = []

    def score(self, pairs):
        self.pairs += pairs
        return [0.0 if ("Chawton" in context) == (word == " yes") else -3.0 for context, word in pairs]


def reader(prompt: str) -> str:
    if "Tacoma" in prompt:
        return "Tacoma"
    return "Herbert" if "Dune is Herbert" in prompt else "?"


def test_what_is_said_is_looked_up() -> None:
    bm25 = Bm25(index=INDEX)
    question = "who is the author of Dune"
    assert Augmented(FakeModel(reader), bm25, k=1).generate([question])[0].text == "Herbert"
    (answer,) = MultiHop(FakeModel(reader), bm25, k=1, rounds=3).generate([question])
    assert answer.text == "Tacoma"
    assert [one["id"] for one in answer.details["evidence"]] == ["1", "2"]
    assert answer.details["rounds"][1]["query"] == f"{question} Herbert"
    assert answer.cost["fake"].calls == 2


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_rounds_are_bounded(rounds: int) -> None:
    many = TextIndex.of([f"word number {i}" for i in range(50)])
    count = iter(range(1000))
    model = FakeModel(lambda prompt: f"word {next(count)}")
    (answer,) = MultiHop(model, Bm25(index=many), k=1, rounds=rounds).generate(["word"])
    assert answer.cost["fake"].calls == rounds == len(answer.details["rounds"])


def test_nothing_found_ends_after_one_answer() -> None:
    (answer,) = MultiHop(FakeModel(lambda p: "?"), Bm25(index=INDEX), rounds=4).generate(["xyzzy"])
    assert answer.details["unretrieved"] == "nothing was found"
    assert answer.cost["fake"].calls == 1


def test_a_model_reorders_what_was_found() -> None:
    judge = Judge()
    rerank = Rerank(retriever=Bm25(index=INDEX), model=judge, top=4)
    [hits], [costs] = rerank.search_counted(["who is the author that lived in a house"], 2)
    assert hits[0].id == "4"
    assert hits[0].score == pytest.approx(1 / (1 + np.exp(-3)))
    assert costs[0][0] is judge
    assert costs[0][1]["judge"].calls == len(judge.pairs)
    asked = Augmented(FakeModel(lambda p: p), rerank, k=1)
    assert asked.members[1] is judge
    assert asked.generate(["who is the author"])[0].cost["judge"].calls > 0


def test_a_cross_encoder_reorders(tmp_path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from consort.testing.retriever_laws import tiny_encoder

    for file in __import__("pathlib").Path(tiny_encoder()).glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForSequenceClassification(BertConfig(vocab_size=40, num_labels=1, **size)).save_pretrained(tmp_path)
    rerank = Rerank(retriever=Bm25(index=INDEX), cross_encoder=str(tmp_path), top=3)
    [hits] = rerank.search(["the author of Dune"], 3)
    assert sorted(hit.score for hit in hits) == [hit.score for hit in hits][::-1]
    with pytest.raises(BadParameter, match="no folder of a classifier"):
        Rerank(retriever=Bm25(index=INDEX), cross_encoder=str(tmp_path / "none")).search(["Dune"], 1)
    with pytest.raises(BadParameter, match="not both"):
        Rerank(retriever=Bm25(index=INDEX))


def test_a_router_learns_when_the_store_knows(tmp_path) -> None:
    """Of queries that the store knows the second model is right, of the others the first."""
    known = [f"the author of book {i}" for i in range(40)]
    other = [f"please add {i} and {i + 1}" for i in range(40)]
    index = TextIndex.of([f"The author of book {i} is person {i}" for i in range(80)])
    quality = np.array([[0.0, 1.0]] * 40 + [[1.0, 0.0]] * 40)
    observed = Observed(("plain", "augmented"), tuple(known + other), quality)
    models = [FakeModel(lambda p: "plain", name="plain"), FakeModel(lambda p: "looked up", name="augmented")]
    router = Ridge(models, features={"evidence": {"retriever": Bm25(index=index)}}).fit(observed)
    asked = ["the author of book 77", "please add 77 and 78", "the author of book 60"]
    assert [answer.text for answer in router.generate(asked)] == ["looked up", "plain", "looked up"]
