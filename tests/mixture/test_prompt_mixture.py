"""Any models behind one router: the chosen one answers as itself, and all that was spent is counted."""

from __future__ import annotations

import pytest

import consort as c
from consort.core.errors import BadData, BadParameter, Unsupported
from consort.mixture.prompt_mixture import PromptMixture
from consort.mixture.training import fit_prompt_router
from consort.models import FakeModel, FakeTokenModel
from consort.plan.build import build
from consort.plan.expression import parse

POSITIVE = [["mirror a b c =", "mirror d ="], ["shout a b c =", "shout d ="]]
PROMPTS = ["shout p q =", "mirror p q =", "shout x ="]


@pytest.fixture(scope="module")
def reference():
    return c.model("lab:base")


def fakes():
    return [FakeModel(lambda prompt, name=name: f"{name} says {prompt[:6]}", name=name) for name in ("a", "b")]


def test_the_chosen_model_answers_and_the_cost_is_that_of_both(reference):
    mixture = PromptMixture(fakes(), reference, positive=POSITIVE, input="mean")
    answers = mixture.generate(PROMPTS)
    alone = [fakes()[i].generate([p])[0] for i, p in zip((1, 0, 1), PROMPTS, strict=True)]
    assert [a.text for a in answers] == [a.text for a in alone]
    assert [a.details["answered_by"] for a in answers] == ["b", "a", "b"]
    assert [set(a.cost) for a in answers] == [{"lab:base", "b"}, {"lab:base", "a"}, {"lab:base", "b"}]
    assert all(a.cost["lab:base"].prompt_tokens > 0 and a.cost["lab:base"].completion_tokens == 0 for a in answers)
    assert [a.text for a in mixture.generate(PROMPTS[1:2])] == [answers[1].text]


def test_tokenizers_of_their_own(reference):
    models = [c.model("lab:mirror"), c.model("lab:b-peel")]
    positive = [["mirror a b =", "mirror d ="], ["peel a b =", "peel d ="]]
    mixture = PromptMixture(models, reference, positive=positive, layer=0, input="mean")
    prompts = ["peel g m b =", "mirror g m b ="]
    answers = mixture.generate(prompts, c.Sampling(max_tokens=6))
    assert [a.text for a in answers] == [
        models[i].generate([p], c.Sampling(max_tokens=6))[0].text for i, p in ((1, prompts[0]), (0, prompts[1]))
    ]


def test_a_fitted_router_and_its_plan(tmp_path):
    mixture = PromptMixture([c.model("lab:mirror"), c.model("lab:shout")], c.model("lab:base"), positive=POSITIVE)
    prompts = [text for texts in POSITIVE for text in texts]
    fit_prompt_router(mixture, prompts, [[1, 0], [1, 0], [0, 1], [0, 1]], tmp_path / "r.safetensors", ridge=0.01)
    arguments = {**c.to_plan(mixture)["prompt_mixture"], "state": str(tmp_path / "r.safetensors")}
    del arguments["positive"]
    again = build(parse({"prompt_mixture": arguments}), "model")
    assert [int(row.argmax()) for row in again.route(prompts)[0]] == [0, 0, 1, 1]
    assert again.generate([]) == []


def test_one_model_needs_no_router(reference):
    (answer,) = PromptMixture(fakes()[:1], reference).generate(["x"])
    assert answer.text == "a says x"


def test_wrong_inputs_are_named(reference, tmp_path):
    with pytest.raises(BadParameter, match="positive"):
        PromptMixture(fakes(), reference)
    with pytest.raises(BadParameter, match="no models"):
        PromptMixture([], reference)
    with pytest.raises(BadParameter, match="input"):
        PromptMixture(fakes(), reference, positive=POSITIVE, input="first")
    with pytest.raises(Unsupported, match="hidden"):
        PromptMixture(fakes(), FakeTokenModel.random(0), positive=[["a"], ["b"]]).generate(["a"])
    with pytest.raises(BadData, match="scores"):
        fit_prompt_router(PromptMixture(fakes(), reference, positive=POSITIVE), ["a"], [[1]], tmp_path / "x")
