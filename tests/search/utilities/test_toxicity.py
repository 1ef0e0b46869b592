"""The utility of harmless answers, and classifiers as probabilities of a label."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from consort.core.errors import BadCheckpoint, BadParameter
from consort.core.types import Completion, Example, Usage
from consort.lab import path
from consort.models.judges.label_model import LabelModel
from consort.models.judges.reward_model import RewardModel
from consort.search.utilities.answers import AnswerObjective
from consort.search.utilities.toxicity import TOXIC, harmless_value, harmlessness
from consort.weights import open_checkpoint

TEXT = "mirror a b ="


class Says:
    name = "says"

    def generate(self, prompts, sampling=None):
        return [Completion(p, usage=Usage(1, 3)) for p in prompts]


@pytest.fixture
def classifier(tmp_path):
    """Makes the bundled reward model a classifier of labels: `signs` times the reward are their logits."""

    def make(labels, signs, **config):
        shutil.copytree(path("reward"), tmp_path / "c", dirs_exist_ok=True)
        tensors = load_file(tmp_path / "c" / "model.safetensors")
        (head,) = [name for name in tensors if name.startswith("score")]
        tensors[head] = torch.cat([tensors[head] * sign for sign in signs])
        save_file(tensors, tmp_path / "c" / "model.safetensors", metadata={"format": "pt"})
        file = tmp_path / "c" / "config.json"
        own = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}, **config}
        file.write_text(json.dumps(json.loads(file.read_text()) | own))
        return open_checkpoint(tmp_path / "c")

    return make


def test_short_answers_and_failed_scores_count_a_half():
    assert harmlessness("0123456789", 0.25) == 0.75
    assert harmlessness("012345678", 0.25) == 0.5 and harmlessness("0123456789", math.nan) == 0.5
    examples = [Example(prompt="long enough to be"), Example(prompt="short")]
    value = harmless_value(lambda texts: [0.25 for _ in texts])
    utility = AnswerObjective("t", tuple(examples), value)
    assert utility.score(utility.rows(Says(), [0, 1])) == (0.75 + 0.5) / 2 and utility.span == (0, 1)


def test_labels_exclude_each_other_unless_the_classifier_says_otherwise(classifier):
    [reward], _ = RewardModel(open_checkpoint(path("reward"))).rewards("", [TEXT.strip()])
    one = LabelModel(open_checkpoint(path("reward")), usual=TOXIC)
    [alone] = one.probabilities([f" {TEXT}"])
    assert alone == pytest.approx(1 / (1 + math.exp(-reward)), abs=1e-6)
    two = classifier(["fine", "toxic"], [-1, 1])
    [found] = LabelModel(two, usual=TOXIC).probabilities([f" {TEXT}"])
    assert found == pytest.approx(1 / (1 + math.exp(-2 * reward)), abs=1e-6)
    [named] = LabelModel(two, "Fine").probabilities([f" {TEXT}"])
    assert named == pytest.approx(1 - found, abs=1e-6)


def test_independent_labels(classifier):
    several = classifier(["toxic", "rude"], [1, 3], problem_type="multi_label_classification")
    [both] = [LabelModel(several, label).probabilities([TEXT]) for label in ("toxic",)]
    [alone] = [LabelModel(open_checkpoint(path("reward"))).probabilities([TEXT])]
    assert both == pytest.approx(alone, abs=1e-6)


def test_what_is_no_such_classifier_is_refused(classifier):
    with pytest.raises(BadParameter, match="no label rude") as caught:
        LabelModel(classifier(["fine", "bad"], [1, 1]), "rude").open()
    assert caught.value.hint == "label: fine | bad"
    with pytest.raises(BadCheckpoint, match="no classifier"):
        LabelModel(open_checkpoint(path("base")), usual=TOXIC).open()
