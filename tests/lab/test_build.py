"""Building a zoo: complete folders only, what is finished is kept, the same seed gives the same weights."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from consort import lab
from consort.core.errors import BadCheckpoint, BadParameter, OutputExists, UnknownName
from consort.lab import build, core_family, facts, folder, prose, reward, second_family
from consort.train import Recipe


@pytest.fixture
def short(monkeypatch):
    """Recipes of a few steps, so that family B is trained in a moment."""
    for name in ("B_BASE", "EXPERT"):
        monkeypatch.setattr(second_family, name, Recipe(steps=2, lr=1e-3))


class Killed(Exception): ...


def weights(zoo):
    return {f.parent.name: load_file(f) for f in sorted(zoo.glob("*/model.safetensors"))}


def test_a_killed_build_goes_on_to_the_same_weights(tmp_path, short, monkeypatch):
    lab.train(3, tmp_path / "whole", parts=["second"])
    train_b_expert = build.train_b_expert

    def kill(zoo, word, seed, report):
        if word == "echo":
            raise Killed
        train_b_expert(zoo, word, seed, report)

    monkeypatch.setattr(build, "train_b_expert", kill)
    with pytest.raises(Killed):
        lab.train(3, tmp_path / "killed", parts=["second"])
    before = (tmp_path / "killed" / "b-base" / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(build, "train_b_expert", train_b_expert)
    lab.train(3, tmp_path / "killed", parts=["second"])
    assert (tmp_path / "killed" / "b-base" / "model.safetensors").stat().st_mtime_ns == before
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert list(whole) == list(killed) == ["b-base", "b-echo", "b-peel", "b-prior"]
    assert all(torch.equal(whole[m][t], killed[m][t]) for m in whole for t in whole[m])
    assert lab.verify(tmp_path / "killed") == []
    assert not list((tmp_path / "killed").glob("*.state.*")) + list((tmp_path / "killed").glob("*.partial"))


def test_building_is_silent_and_leaves_threads_and_generators_alone(tmp_path, short, capfd):
    threads, generator = torch.get_num_threads(), torch.random.get_rng_state()
    lab.train(0, tmp_path / "zoo", parts=["second"])
    assert capfd.readouterr() == ("", "")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), generator)


@pytest.mark.slow
def test_everything_but_weights_is_written_again_byte_for_byte(tmp_path, monkeypatch):
    for module in (core_family, second_family, facts, prose, reward):
        for name in [name for name, value in vars(module).items() if isinstance(value, Recipe)]:
            monkeypatch.setattr(module, name, Recipe(steps=1, lr=1e-3))
    lab.train(0, tmp_path / "zoo")
    assert lab.verify(tmp_path / "zoo") == []
    written = {f.relative_to(tmp_path / "zoo"): f.read_bytes() for f in (tmp_path / "zoo").rglob("*") if f.is_file()}
    shipped = {f.relative_to(lab.path()): f.read_bytes() for f in lab.path().rglob("*") if f.is_file()}
    assert written.keys() == shipped.keys()
    changed = {f.name for f in written if written[f] != shipped[f]}
    assert changed <= {"model.safetensors", "adapter_model.safetensors", "manifest.json"}


@pytest.mark.slow
def test_an_expert_trained_anew_is_the_shipped_one(tmp_path):
    (tmp_path / "base").symlink_to(lab.path("base"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    core_family.train_expert(tmp_path, "mirror", 0, lambda *_: None)
    torch.set_num_threads(threads)
    anew, shipped = (
        load_file(tmp_path / "mirror" / "model.safetensors"),
        load_file(lab.path("mirror") / "model.safetensors"),
    )
    assert max((anew[n].float() - shipped[n].float()).abs().max().item() for n in shipped) <= 1e-3


def test_another_folder_or_seed_is_refused(tmp_path, short):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists):
        lab.train(0, tmp_path)
    build._claim(tmp_path / "zoo", 1)
    with pytest.raises(OutputExists, match="seed 2"):
        lab.train(2, tmp_path / "zoo")


def test_a_misspelt_part_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UnknownName) as error:
        lab.train(0, tmp_path / "zoo", parts=["cor"])
    assert error.value.hint == "did you mean 'core'?"
    assert not (tmp_path / "zoo").exists()


def test_a_part_without_its_base_is_refused(tmp_path):
    with pytest.raises(BadParameter, match="base"):
        lab.train(0, tmp_path / "zoo", parts=["reward"])
    assert not (tmp_path / "zoo").exists()


def test_a_folder_is_whole_or_absent(tmp_path):
    def write(partial):
        (partial / "half").write_text("x")
        raise Killed

    with pytest.raises(Killed):
        folder.make(tmp_path / "model", write)
    assert not (tmp_path / "model").exists()
    folder.make(tmp_path / "model", lambda partial: (partial / "all").write_text("y"))
    assert [f.name for f in (tmp_path / "model").iterdir()] == ["all"]


def test_verify_names_what_was_changed_lost_or_added(tmp_path):
    zoo = tmp_path / "zoo"
    build._claim(zoo, 0)
    for name in "abc":
        (zoo / name).write_text(name)
    build.write_manifest(zoo, 0)
    (zoo / "a").write_text("other")
    (zoo / "b").unlink()
    (zoo / "d").write_text("d")
    assert [(m.file, m.problem) for m in lab.verify(zoo)] == [("a", "changed"), ("b", "missing"), ("d", "unknown")]
    assert json.loads((zoo / "manifest.json").read_text())["seed"] == 0


def test_verify_without_a_manifest_says_so(tmp_path):
    with pytest.raises(BadCheckpoint, match="manifest"):
        lab.verify(tmp_path)
