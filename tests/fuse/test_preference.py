"""Fusion by preference: sampling that resumes, who is chosen, the loss falls and the winner gains."""

from __future__ import annotations

import pytest
import torch

from consort import lab
from consort.core.errors import BadData, BadParameter
from consort.core.types import Sampling
from consort.fuse.corpus import answered
from consort.fuse.preference import Answer, Preference, best_answers, logprobs, prefer, preferences, read, sample
from consort.models import FakeModel, load_model
from consort.train import Recipe

ANSWERS = [
    Answer(0, "a", "good", 0.9),
    Answer(0, "a", "poor", 0.85),
    Answer(0, "b", "best", 1.0),
    Answer(0, "b", "awful", 0.1),
    Answer(1, "a", "same", 0.5),
    Answer(1, "a", "same", 0.5),
]


def test_the_best_of_all_and_pairs_of_one_source():
    assert [d.text for d in best_answers(ANSWERS, ["p ", "q "])] == ["p best", "q same"]
    assert [d.text for d in best_answers(ANSWERS, ["p ", "q "], least=0.6)] == ["p best"]
    (pair,) = preferences(ANSWERS, ["p ", "q "])
    assert (pair.chosen.text, pair.rejected.text) == ("p good", "p poor")  # b's differ too much
    (pair,) = preferences(ANSWERS, ["p ", "q "], gap=(0.01, 1))
    assert (pair.chosen.text, pair.rejected.text) == ("p best", "p awful")
    with pytest.raises(BadData, match="good enough"):
        best_answers(ANSWERS, ["p ", "q "], least=2)


def test_sampling_goes_on_where_it_was(tmp_path):
    asked = []

    def answer(prompt):
        asked.append(prompt)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return prompt.upper()

    sources = {"one": FakeModel(answer), "two": FakeModel(lambda p: "no")}

    def reward(prompt, text):
        return float(text == prompt.upper())

    warm = Sampling(temperature=1.0)
    with pytest.raises(KeyboardInterrupt):
        sample(sources, ["x", "y"], reward, tmp_path / "answers", each=2, sampling=warm)
    found = sample(sources, ["x", "y"], reward, tmp_path / "answers", each=2, sampling=warm)
    assert len(asked) == 6  # the first round was not asked again
    assert [(a.source, a.text, a.score) for a in found[:2]] == [("one", "X", 1.0), ("one", "Y", 1.0)]
    assert len(found) == 8
    with pytest.raises(BadParameter, match="would be the same"):
        sample(sources, ["x"], reward, tmp_path / "cold", sampling=Sampling())


def test_preferred_answers_gain_over_rejected_ones():
    model = load_model(lab.path("pivot"))
    head = "the capital of nusudan is"
    pair = Preference(answered(head, " osk"), answered(head, " lom"))

    def margin() -> float:
        with torch.no_grad():
            won, lost = logprobs(model.module, [read(d, model.tokenizer) for d in (pair.chosen, pair.rejected)])
        return float(won - lost)

    before = margin()
    curve = prefer(model.module, model.tokenizer, [pair], Recipe(steps=4, lr=1e-3, warmup=0), beta=1.0, batch=1)
    assert curve[0][0] == pytest.approx(0.693147, abs=1e-4)  # nothing differs from the reference yet
    assert curve[-1][0] < curve[0][0]
    assert margin() > before
    with pytest.raises(BadData, match="no pairs"):
        prefer(model.module, model.tokenizer, [], Recipe(steps=1, lr=1e-3))


def test_summed_logprobs_are_the_models():
    model = load_model(lab.path("pivot"))
    document = answered("the capital of nusudan is", " osk")
    ids, places = read(document, model.tokenizer)
    (wanted,) = model.logprobs([ids.tolist()])
    with torch.no_grad():
        (found,) = logprobs(model.module, [(ids, places)])
    assert float(found) == pytest.approx(float(wanted[places - 1].sum()), abs=1e-3)
