"""The example files: each is read, checked and merged, and its printed plan gives the same tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consort.plan import build, dump, parse, read_plan, to_plan

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
