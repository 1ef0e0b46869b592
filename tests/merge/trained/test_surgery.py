"""Representation surgery (check 9.15)."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort.core.errors import Incompatible, UnknownName, Unsupported
from consort.core.types import Sampling
from consort.merge.collect.run import at_work
from consort.merge.trained.store import write_found
from consort.merge.trained.surgery import Correction, Surgery, distance, operate
from consort.models.fake import FakeModel, FakeTokenModel
from consort.plan.objects import to_plan
from consort.testing import model_laws as laws


@pytest.fixture(scope="module")
def expert(pair):
    return at_work(pair.models[0], None)


@pytest.fixture(scope="module")
def folder(pair, expert, tmp_path_factory):
    """Two corrections: a trained one for mirror, one that changes nothing for order."""
    own = [p for p in pair.passages if p.task == "mirror"]
    found = operate(pair.live.module, expert.module, own, steps=20, lr=0.01)
    nothing = Correction(128, 16, torch.Generator())
    tensors = {"mirror.down": found.down, "mirror.up": found.up}
    tensors |= {"order.down": nothing.down.detach(), "order.up": nothing.up.detach()}
    path = tmp_path_factory.mktemp("surgery")
    write_found(path, "surgery", pair.models, pair.base, {"tasks": ["mirror", "order"]}, tensors)
    return str(path)


def test_the_distance_to_the_expert_falls_on_other_inputs(pair, expert):
    own = [p for p in pair.passages if p.task == "mirror"]
    found = operate(pair.live.module, expert.module, own[:12], steps=60, lr=0.005)
    assert found.after < found.before
    before, after = distance(pair.live.module, expert.module, found, own[12:])
    assert after < before


def test_no_step_changes_nothing(pair, expert):
    found = operate(pair.live.module, expert.module, pair.passages[:4], steps=0)
    assert found.before == found.after and not found.up.any()


def test_without_a_correction_the_logits_are_the_models(pair, folder):
    model = Surgery(pair.live, corrections=folder, task="order")
    tokens = [[1, 20, 21, 3], [1, 30]]
    for got, wanted in zip(model.open(2).feed(tokens), pair.live.open(2).feed(tokens), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("law", laws.SESSION_LAWS, ids=lambda law: law.__name__)
def test_laws_of_token_models(pair, folder, law):
    law(Surgery(pair.live, corrections=folder, task="mirror"))


def test_a_plan_names_it(folder):
    model = Surgery(c.model("lab:mirror"), corrections=folder, task="mirror")
    assert to_plan(model) == {"surgery": {"model": "lab:mirror", "corrections": folder, "task": "mirror"}}
    answer = model.generate(["mirror a b ="], Sampling(max_tokens=4))[0]
    assert list(answer.cost) == [model.model.name]


def test_what_cannot_be_corrected_is_refused(pair, folder):
    with pytest.raises(UnknownName, match="no correction for 'spin'"):
        Surgery(pair.live, corrections=folder, task="spin")
    with pytest.raises(Unsupported, match="does not show its logits"):
        Surgery(FakeModel({}), corrections=folder, task="mirror")
    with pytest.raises(Unsupported, match="hidden states"):
        Surgery(FakeTokenModel.random(0), corrections=folder, task="mirror").open(1)
    with pytest.raises(Incompatible, match="corrects 128 features"):
        Surgery(c.model("lab:draft"), corrections=folder, task="mirror").open(1).feed([[1, 2]])
