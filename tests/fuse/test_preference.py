"""Fusion by preference: sampling that resumes, who is chosen, the loss falls and the winner gains."""

from __future__ import annotations

import math

import pytest
import torch

from consort import lab
from consort.core.errors import BadData
from consort.distil.corpus import answered, continued
from consort.fuse.options import Asking
from consort.fuse.preference import Answer, Preference, best_answers, preferences, sample, scored
from consort.fuse.preferring import logprobs, prefer, read
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
    assert [d.text for _, d in best_answers(ANSWERS, ["p ", "q "]).values()] == ["p best", "q same"]
    assert [d.text for _, d in best_answers(ANSWERS, ["p ", "q "], least=0.6).values()] == ["p best"]
    (pair,) = preferences(ANSWERS, ["p ", "q "])
    assert (pair.chosen.text, pair.rejected.text) == ("p good", "p poor")  # b's differ too much
    (pair,) = preferences(ANSWERS, ["p ", "q "], gap=(0.01, 1))
    assert (pair.chosen.text, pair.rejected.text) == ("p best", "p awful")
    with pytest.raises(BadData, match="good enough"):
        best_answers(ANSWERS, ["p ", "q "], least=2)


def test_an_answer_goes_on_from_its_prompt_and_a_cut_one_does_not_end():
    assert [continued(h, a) for h, a in (("p", "x"), ("p ", "x"), ("p", " x"), ("", "x"))] == [" x", "x", " x", "x"]
    ((_, document),) = best_answers([Answer(0, "a", "cut", whole=False)], ["p"]).values()
    assert (document.text, document.whole, document.learnt()) == ("p cut", False, ((1, 5),))


def test_sampling_goes_on_where_it_was(tmp_path):
    asked = []

    def answer(prompt):
        asked.append(prompt)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return prompt.upper()

    prompts, options, told = ["x", "y"], Asking(each=2), []

    def draw():
        return sample("one", lambda: FakeModel(answer), prompts, tmp_path / "answers", options, advance=told.append)

    with pytest.raises(KeyboardInterrupt):
        draw()
    found = draw()
    assert len(asked) == 6  # the first round was not asked again
    assert [(a.prompt, a.text) for a in found] == [(0, "X"), (1, "Y")] * 2
    assert told == [0, 2, 2, 2]
    again = sample("one", lambda: pytest.fail("asked"), prompts, tmp_path / "answers", options)
    assert again == found


def test_rewards_are_kept_and_must_be_numbers(tmp_path):
    judged = []

    def reward(number, text):
        judged.append(text)
        return float(len(text) + number)

    answers = [Answer(0, "a", "xx"), Answer(0, "a", "xx"), Answer(1, "a", "y")]
    found = scored(answers, reward, tmp_path / "scores", key="length")
    assert [a.score for a in found] == [2.0, 2.0, 2.0]
    assert judged == ["xx", "y"]
    assert scored(answers, lambda *_: pytest.fail("judged"), tmp_path / "scores", key="length") == found
    with pytest.raises(BadData, match="is nan for an answer of a to prompt 1"):
        scored(answers, lambda *_: math.nan, tmp_path / "other", key="nan")


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


def test_parts_of_a_step_add_up_to_its_mean():
    head = "the capital of nusudan is"
    pairs = [
        Preference(answered(head, f" {good}"), answered(head, " lom")) for good in ("osk", "bimirak", "thessa osk")
    ]
    curves = []
    for part in (1, 3):
        model = load_model(lab.path("pivot"))
        recipe = Recipe(steps=3, lr=1e-3, warmup=0)
        curves.append([c[0] for c in prefer(model.module, model.tokenizer, pairs, recipe, batch=3, part=part)])
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


def test_summed_logprobs_are_the_models():
    model = load_model(lab.path("pivot"))
    document = answered("the capital of nusudan is", " osk")
    ids, places = read(document, model.tokenizer)
    (wanted,) = model.logprobs([ids.tolist()])
    with torch.no_grad():
        (found,) = logprobs(model.module, [(ids, places)])
    assert float(found) == pytest.approx(float(wanted[places - 1].sum()), abs=1e-3)
