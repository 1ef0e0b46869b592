"""The hash of weights: of content alone, whatever the files are."""

from __future__ import annotations

import shutil

import torch
from safetensors.torch import load_file, save_file

import consort as c
from consort import lab
from consort.weights.content import content_hash


def test_equal_weights_have_equal_hashes_however_they_are_kept(tmp_path):
    whole = c.load("lab:mirror")
    moved = shutil.copytree(lab.path("mirror"), tmp_path / "other-name")
    tensors = load_file(moved / "model.safetensors")
    save_file(dict(reversed(list(tensors.items()))), moved / "model.safetensors", metadata={"format": "pt", "x": "y"})
    assert content_hash(c.load(moved)) == content_hash(whole)
    assert content_hash(c.load("lab:order")) != content_hash(whole)  # two models of one shape (D7)


def test_one_changed_entry_changes_it(tmp_path):
    moved = shutil.copytree(lab.path("mirror"), tmp_path / "m")
    tensors = load_file(moved / "model.safetensors")
    name = next(n for n, t in tensors.items() if t.ndim == 2)
    tensors[name][-1, -1] += 1.0
    save_file(tensors, moved / "model.safetensors", metadata={"format": "pt"})
    assert content_hash(c.load(moved)) != content_hash(c.load("lab:mirror"))


def test_an_adapter_is_its_base_and_itself():
    one, two = (content_hash(c.load(f"lab:base+lab:lora-{name}")) for name in ("mirror", "order"))
    assert one != two and len({one, two, content_hash(c.load("lab:base"))}) == 3


def test_dtypes_of_sixteen_bits_are_read(tmp_path):
    from consort.weights.checkpoint import Memory

    half = Memory({"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.zeros(())}, {})
    whole = Memory({"a": torch.ones(3), "b": torch.zeros(())}, {})
    assert content_hash(half) != content_hash(whole)
