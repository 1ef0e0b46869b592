"""What each retriever adds to its index, by hand-computed cases and on CACM."""

from __future__ import annotations

import pytest

from consort.cooperate.retrieve.retrievers.bm25 import Bm25
from consort.cooperate.retrieve.retrievers.feedback import Feedback
from consort.cooperate.retrieve.retrievers.hybrid import Hybrid
from consort.core.errors import BadParameter, Unsupported
from consort.knowledge import Evidence, TextIndex


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
