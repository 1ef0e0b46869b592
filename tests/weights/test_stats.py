"""Statistics as checkpoints: what they say of themselves, and whose they are."""

from __future__ import annotations

import json

import pytest
import torch

from consort.core.errors import BadCheckpoint, Incompatible
from consort.weights.checkpoint import Memory
from consort.weights.disk.folder import open_folder
from consort.weights.stats import Description, check_statistics, description, fingerprint, verify, write_shard

MODEL = Memory({"w": torch.arange(6.0).view(2, 3), "ids": torch.arange(3)}, {}, name="model")


def told(kind="fisher", **changes):
    values = dict(labels="", texts=1, tokens=2, seed=0, model="model", fingerprint=fingerprint(MODEL)) | changes
    return Description(kind=kind, **values)


def test_a_folder_says_what_it_holds(tmp_path):
    write_shard(tmp_path / "model.safetensors", {"w": torch.ones(2, 3)})
    (tmp_path / "config.json").write_text(json.dumps(told().config()))
    opened = open_folder(tmp_path)
    assert description(opened) == told() and opened["w"].equal(torch.ones(2, 3))
    check_statistics(opened, "fisher", MODEL)
    verify(opened, MODEL)


def test_a_fingerprint_tells_models_apart():
    same = Memory({"ids": torch.zeros(3), "w": MODEL["w"].bfloat16()}, {})
    assert fingerprint(Memory({"w": MODEL["w"].bfloat16()}, {})) == fingerprint(MODEL) != fingerprint(same)
    other = Memory({"w": MODEL["w"] + 1}, {}, name="other")
    found = Memory({"w": torch.ones(2, 3)}, told().config(), name="found")
    with pytest.raises(Incompatible, match="found: was collected of model, not of other"):
        verify(found, other)


def test_strangers_are_refused():
    with pytest.raises(BadCheckpoint, match="holds no statistics"):
        description(Memory({}, {"model_type": "llama"}))
    of_another_kind = Memory({"w": torch.ones(3, 3)}, told("gram").config(), name="g")
    with pytest.raises(Incompatible, match="g: these are gram statistics, not fisher"):
        check_statistics(of_another_kind, "fisher", MODEL)
    with pytest.raises(Incompatible, match=r"x is not in model; w is \[2, 3\], which does not go with \[2, 3\]"):
        check_statistics(Memory({"w": torch.ones(2, 3), "x": torch.ones(1)}, {}), "gram", MODEL)
    with pytest.raises(Incompatible, match="there are none of w"):
        check_statistics(Memory({}, {}), "fisher", MODEL)
