"""Cases from the field, D1 and D6: bases of adapters, and of families where nobody says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from consort import lab
from consort.core.errors import BadCheckpoint
from consort.plan import build, read_plan
from consort.plan.build import Builder
from consort.runs.pool import families, open_members
from consort.weights.checkpoint import Memory
from consort.zoo.base import likely_base, squared_distances


def adapter(folder: Path, base: str | None) -> str:
    """The adapter lora-mirror in a folder, with what it says of its base."""
    shutil.copytree(lab.path("lora-mirror"), folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base}))
    (folder / "README.md").unlink(missing_ok=True)
    return str(folder)


def model(folder: Path, name: str = "base") -> str:
    return str(shutil.copytree(lab.path(name), folder))


def test_D1_an_adapter_stands_alone_where_its_base_lies_where_it_says(tmp_path: Path) -> None:
    base = model(tmp_path / "models" / "base")
    for named, folder in ((base, "a"), ("org/base", "models/b"), ("base", "models/adapters/c")):
        laid = build(read_plan(adapter(tmp_path / folder, named)), "checkpoint")
        assert str(laid.base.path) == base
        assert len(build(read_plan(str(tmp_path / folder))).generate(["twice: abc ="])) == 1


def test_D1_without_a_base_the_hint_works_in_a_shell(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "x" / "a", "models/base")
    with pytest.raises(BadCheckpoint, match="is an adapter, not a model") as refused:
        build(read_plan(folder), "checkpoint")
    assert refused.value.hint == f"give its base, which it calls 'models/base': BASE+{folder}"
    base = model(tmp_path / "y" / "base")
    assert len(build(read_plan(f"{base}+{folder}")).generate(["twice: abc ="])) == 1


def test_D1_the_base_is_found_among_the_inputs(tmp_path: Path) -> None:
    base, tuned = model(tmp_path / "in" / "base"), model(tmp_path / "in" / "opp-full", "order")
    named, silent = (
        adapter(tmp_path / "a" / "b" / "opp-lora", "models/base"),
        adapter(tmp_path / "a" / "b" / "no", None),
    )
    *_, member = open_members([base, tuned, named], Builder())
    assert (member.reference, member.label) == (f"{base}+{named}", "opp-lora")
    *_, member = open_members([base, silent], Builder())
    assert member.reference == f"{base}+{silent}"  # the only one that it fits
    with pytest.raises(BadCheckpoint, match="names no base, and fits") as refused:
        open_members([base, tuned, silent], Builder())
    assert refused.value.hint == f"--base MODEL, or write BASE+{silent}"
    *_, member = open_members([base, tuned, silent], Builder(), tuned)
    assert member.reference == f"{tuned}+{silent}"


def drawn(count: int, lengths: list[float], *, common: float = 0.0) -> list[Memory]:
    """A base and models that went so far from it, each its own way but for a common part."""
    generator = torch.Generator().manual_seed(0)
    base, way = (torch.randn(count, generator=generator) for _ in range(2))
    ways = [torch.randn(count, generator=generator) + common * way for _ in lengths]
    found = [base] + [base + length * way for length, way in zip(lengths, ways, strict=True)]
    return [Memory({"w": tensor}, {}, name=str(i)) for i, tensor in enumerate(found)]


def test_D6_the_distance_from_what_the_others_share_is_the_models_own() -> None:
    distances = squared_distances(drawn(100_000, [0.1, 0.2, 1.0]))
    assert distances == pytest.approx([0, 1_000, 4_000, 100_000], rel=0.05, abs=100)


def test_D6_the_base_is_told_from_the_weights_or_left_open() -> None:
    for lengths in ([0.1, 0.1], [0.1, 0.3, 0.2], [0.1, 0.1, 3.0]):  # the last went astray
        models = drawn(20_000, lengths)
        assert likely_base([*models[1:], models[0]]) == len(lengths)
        assert likely_base(models[1:]) is None
    assert likely_base(drawn(20_000, [0.1])) is None
    assert likely_base(drawn(20_000, [0.1, 0.1, 0.1], common=2.0)) is None  # they share more than they differ in
    same = drawn(100, [0.0, 0.0, 0.0])
    assert likely_base(same) is None


def test_D6_it_is_told_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["mirror", "base", "order", "harmful"]
    for name in names:
        (Path(model(tmp_path / name, name)) / "README.md").unlink(missing_ok=True)
        (tmp_path / name / "merge_manifest.json").unlink(missing_ok=True)
    references = [str(tmp_path / name) for name in names]
    [family], _ = families(open_members(references, Builder()))
    assert family.base is not None and family.base.label == "base"
    told = capsys.readouterr().err
    assert told == "mirror, base, order, harmful: one family, tuned from base (by their weights)\n"
    [family], _ = families(open_members([references[0], references[2]], Builder()))
    assert family.base is None
    assert "no base is known: methods that need differences from one are left out" in capsys.readouterr().err


def test_a_table_without_a_column_is_all_its_models(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("prompt;small;large\nwhat?;0,5;1\n")
    table = f"table:{tmp_path / 't.csv'}"
    members = open_members([table, f"{table}#large"], Builder())
    assert [member.reference for member in members] == [f"{table}#small", f"{table}#large"]
