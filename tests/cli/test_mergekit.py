"""`consort merge` with mergekit's YAML."""

from __future__ import annotations

import shutil

import pytest
import yaml
from safetensors.torch import load_file

from consort import lab


@pytest.fixture
def write(tmp_path):
    def file(document):
        (tmp_path / "m.yml").write_text(yaml.safe_dump(document))
        return tmp_path / "m.yml"

    return file


def test_run_and_printed_plan_give_the_same_bytes(tmp_path, consort, write):
    document = {
        "merge_method": "dare_ties",
        "base_model": "lab:base",
        "slices": [
            {"sources": [{"model": m, "layer_range": [a, a + 2]} for m in ("lab:base", "lab:mirror", "lab:order")]}
            for a in (0, 1)
        ],
        "parameters": {"weight": [{"filter": "mlp", "value": [0.2, 0.8]}, {"value": 0.5}], "density": 0.5},
        "dtype": "bfloat16",
    }
    assert consort("merge", write(document), tmp_path / "one").code == 0
    (tmp_path / "plan.yml").write_text(consort("merge", write(document), "x", "--print-plan").out)
    assert consort("merge", tmp_path / "plan.yml", tmp_path / "two").code == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert yaml.safe_load((tmp_path / "one" / "mergekit_config.yml").read_text()) == document
    assert not (tmp_path / "two" / "mergekit_config.yml").exists()
    tensors = load_file(tmp_path / "one" / "model.safetensors")
    masks = [tensors[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(4)]
    assert not masks[1].equal(masks[2])  # layer 1 of both slices, drawn anew for each output layer


def test_paths_are_not_told(tmp_path, consort, write):
    model = shutil.copytree(lab.path("mirror"), tmp_path / "a")
    document = {"merge_method": "passthrough", "models": [{"model": str(model)}]}
    assert consort("merge", write(document), tmp_path / "out").code == 0
    for file in ("mergekit_config.yml", "merge_manifest.json", "README.md"):
        assert str(tmp_path) not in (tmp_path / "out" / file).read_text()


def test_a_dry_run_names_all_faults_and_makes_nothing(tmp_path, refused, write, monkeypatch):
    """Property 16."""
    from consort.weights.disk.folder import Folder

    monkeypatch.setattr(Folder, "read_into", lambda *a: pytest.fail("read tensor data"))
    broken = {"ties": {"models": ["lab:mirror", {"linear": {"modles": []}}], "base": "x", "densty": 1, "lambda": "y"}}
    shown = refused("merge", write(broken), tmp_path / "out", "--dry-run")
    assert all(word in shown for word in ("densty", "lambda", "modles"))
    absent = {"linear": {"models": ["lab:mirorr", str(tmp_path / "absent"), "lab:order"]}}
    shown = refused("merge", write(absent), tmp_path / "out", "--dry-run")
    assert "mirorr" in shown and "absent" in shown
    assert [p.name for p in tmp_path.iterdir()] == ["m.yml"]
