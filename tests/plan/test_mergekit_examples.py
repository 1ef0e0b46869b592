"""The example files: each is read, checked and merged, its printed plan gives the same tensors, its folder loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consort.plan import build, dump, parse, read_plan, to_plan
from consort.weights import open_folder, write

FILES = sorted((Path(__file__).parents[2] / "examples" / "mergekit").glob("*.yml"))
METHODS = {
    *("arcee_fusion", "breadcrumbs", "breadcrumbs_ties", "dare_linear", "dare_ties", "della", "della_linear"),
    *("karcher", "linear", "model_stock", "multislerp", "nearswap", "nuslerp", "passthrough", "ram", "ramplus_tl"),
    *("sce", "slerp", "task_arithmetic", "ties"),
}


def test_there_are_fifty_and_they_use_every_method():
    found = {line.split()[1] for f in FILES for line in f.read_text().splitlines() if line.startswith("merge_method")}
    assert len(FILES) == 50
    assert found == METHODS


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_merges_and_its_plan_gives_the_same(file):
    plan = read_plan(file)
    again = parse(dump(plan))
    assert again == plan
    one, other = (build(p, "checkpoint") for p in (plan, again))
    assert parse(to_plan(one)) == plan
    names = one.keys()
    assert other.keys() == names
    for name in (names[0], names[len(names) // 2], names[-1]):
        tensor = one[name]
        assert tensor.isfinite().all()
        assert torch.equal(tensor, other[name])
    layers = {name.split(".")[2] for name in names if ".layers." in name}
    assert one.config["num_hidden_layers"] == len(layers)


QUICK = ("06-linear", "11-slerp", "24-ties", "34-model-stock", "43-passthrough", "45-uneven", "48-lora", "50-documents")


def slow_but(quick):
    return [
        pytest.param(file, id=file.stem, marks=() if file.stem.startswith(quick) else pytest.mark.slow)
        for file in FILES
    ]


@pytest.mark.parametrize("file", slow_but(QUICK))
def test_its_folder_is_loaded_by_transformers(file, tmp_path):
    """Written whole, loaded without missing or unexpected weights, equal to what was written, and it computes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged = build(read_plan(file), "checkpoint")
    write(merged, tmp_path / "out", threads=1, plan=dump(read_plan(file)))
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True, dtype="auto")
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    loaded = model.state_dict()
    with open_folder(tmp_path / "out") as folder:
        assert all(loaded[name].equal(folder[name]) for name in folder.keys())
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")("mirror: abc")["input_ids"]
    assert model(torch.tensor([ids])).logits.isfinite().all()
