"""What each retriever adds to its index, by hand-computed cases and on CACM."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from consort.cooperate.retrieve.encoding import described
from consort.cooperate.retrieve.retrievers.bm25 import Bm25
from consort.cooperate.retrieve.retrievers.dense import Dense
from consort.cooperate.retrieve.retrievers.feedback import Feedback
from consort.cooperate.retrieve.retrievers.hybrid import Hybrid
from consort.core.errors import BadData, BadParameter, Unsupported
from consort.knowledge import Evidence, TextIndex
from consort.models.hf.sentence_encoder import SentenceEncoder


class Ranked:
    """Finds what it was told to, in order."""

    def __init__(self, *ids: str, scores: tuple[float, ...] = ()) -> None:
        self.hits = [Evidence(id, id, scores[i] if scores else 1.0 - i / 10) for i, id in enumerate(ids)]

    def search(self, queries, k):
        return [self.hits[:k] for _ in queries]


def test_reciprocal_ranks() -> None:
    """a has ranks 1 and 3, b has rank 2 and none."""
    [found] = Hybrid(retrievers=[Ranked("a", "b"), Ranked("c", "d", "a")]).search(["q"], 9)
    scores = {hit.id: hit.score for hit in found}
    assert scores["a"] == pytest.approx(1 / 61 + 1 / 63) == pytest.approx(0.032266, abs=1e-6)
    assert scores["b"] == pytest.approx(0.016129, abs=1e-6)
    assert [hit.id for hit in found] == ["a", "c", "b", "d"]


def test_weights_of_ranks_and_of_scores() -> None:
    one, two = Ranked("a", "b", scores=(10.0, 5.0)), Ranked("b", "a", "c", scores=(0.9, 0.5, 0.1))
    [found] = Hybrid(retrievers=[one, two], by="score", weights=[1, 3]).search(["q"], 3)
    assert [(hit.id, round(hit.score, 6)) for hit in found] == [("b", 0.75), ("a", 0.625), ("c", 0.0)]
    [found] = Hybrid(retrievers=[one, two], weights=[3, 1], smooth=0).search(["q"], 2)
    assert [(hit.id, hit.score) for hit in found] == [("a", 3.5), ("b", 2.5)]


@pytest.mark.parametrize("arguments", [{}, {"retrievers": []}, {"retrievers": [Ranked("a")], "weights": [1, 2]}])
def test_hybrids_of_nothing(arguments) -> None:
    with pytest.raises(BadParameter):
        Hybrid(**arguments)
    with pytest.raises(Unsupported, match="no vectors"):
        Hybrid(index=TextIndex.of(["words alone"]))


def test_an_index_of_another_encoder_or_of_unknown_words_is_refused(tmp_path) -> None:
    one, two = (encoder(tmp_path / name, seed) for name, seed in (("one", 0), ("two", 1)))
    texts = ["a fox is red", "a whale is blue"]
    index = TextIndex.of(texts, embed=SentenceEncoder(str(one)).embed, encoder=described(str(one)))
    index.save(tmp_path / "index")
    folder = tmp_path / "index"
    [hits] = Dense(index=folder).search(["a fox is red"], 1)
    assert hits[0].id == "1"
    assert Dense(index=folder, encoder=str(shutil.copytree(one, tmp_path / "moved"))).search(["fox"], 1)[0]
    with pytest.raises(BadData, match="another encoder") as caught:
        Dense(index=folder, encoder=str(two)).search(["fox"], 1)
    assert "build the index again" in caught.value.hint
    shutil.rmtree(one)
    with pytest.raises(BadParameter):
        Dense(index=folder)
    header = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(header | {"words": {"stop": False, "pieces": "wordpiece"}}))
    with pytest.raises(BadData, match="words are read in a way"):
        Bm25(index=folder).search(["fox"], 1)


def test_an_index_that_lacks_a_part_is_refused_before_work(tmp_path) -> None:
    TextIndex.of(["a fox", "a whale"]).save(tmp_path)
    header = tmp_path / "index.json"
    header.write_text(header.read_text().replace('"bytes"', '"octets"', 1))
    with pytest.raises(BadData, match="damaged"):
        Bm25(index=tmp_path)
    (tmp_path / "postings.npy").unlink()
    header.write_text(header.read_text().replace('"octets"', '"bytes"', 1))
    with pytest.raises(BadData, match="postings.npy"):
        Feedback(index=tmp_path)


def encoder(folder: Path, seed: int) -> Path:
    """A tiny BERT of random weights with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *["a", "fox", "is", "red", "whale", "blue"]]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(folder)
    return folder


def test_feedback_asks_for_what_is_found_first() -> None:
    texts = ["red fox hunts hare", "red fox chases hare", "grey hare sleeps", *[f"stone number {i}" for i in range(30)]]
    index = TextIndex.of(texts)
    assert {hit.id for hit in Bm25(index=index).search(["fox"], 5)[0]} == {"1", "2"}
    feedback = Feedback(index=index, documents=2, terms=4)
    words = feedback.widened("fox", index.bm25("fox", 2))
    assert sum(words.values()) == pytest.approx(1)
    assert words["fox"] > words["hare"] > 0
    assert "3" in {hit.id for hit in feedback.search(["fox"], 5)[0]}
    only = Feedback(index=index, weight=1).search(["fox"], 5)[0]
    assert [hit.id for hit in only] == ["1", "2"]
    assert Feedback(index=index).search(["nowhere", ""], 5) == [[], []]


def test_a_long_passage_says_no_more_than_its_most_frequent_words() -> None:
    """Of the long passage hare (3), fox and one more word count, of the short one fox and lynx: .6 against .5."""
    filler = " ".join(f"word{i}" for i in range(20))
    index = TextIndex.of([f"fox hare hare hare {filler}", "fox lynx", *[f"stone number {i}" for i in range(30)]])
    hits = [Evidence(id, index.passages[i].text, 1.0) for i, id in enumerate("12")]
    words = Feedback(index=index, terms=3, weight=0).widened("fox", hits)
    assert words["hare"] == pytest.approx(0.6 / (0.6 + 0.5 + 0.7))
    assert words["hare"] > words["lynx"]
