"""Merges written as folders."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadCheckpoint
from consort.merge import merge
from consort.merge.engine.blocks import BLOCK
from consort.weights.disk.folder import open_folder
from consort.weights.disk.writer import write


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["linear", "ties", "dare_linear", "della", "slerp", "task_arithmetic"])
def test_threads_and_shards_do_not_change_the_tensors(memory, tmp_path, name):
    shapes = {"long": (2 * BLOCK + 5,), "rows": (300, 700), "small": (3, 4)}
    models = [memory({k: normal(i, *s) for k, s in shapes.items()}, dtype=torch.bfloat16) for i in range(3)]
    params = {"t": 0.3} if name == "slerp" else {}
    merged = merge(name, models[: 1 if name == "slerp" else 2], base=models[2], **params)
    for threads, shard in ((1, 5_000_000_000), (2, 1_000_000), (7, 1_000_000)):
        out = tmp_path / f"{threads}"
        write(merged, out, threads=threads, shard_bytes=shard)
        with open_folder(out) as folder:
            assert all(folder[key].equal(merged[key]) for key in merged.keys())


def test_a_merge_of_a_saved_merge_is_the_nested_merge(memory, tmp_path):
    a, b, base = (memory({"w": normal(i, 40, 50)}, dtype=torch.bfloat16) for i in range(3))
    inner = merge("ties", [a, b], base=base)
    write(inner, tmp_path / "inner", out_dtype=torch.float32)
    with open_folder(tmp_path / "inner") as saved:
        one, other = (merge("dare_linear", [m, a], base=base, dtype="bfloat16")["w"] for m in (inner, saved))
    assert one.equal(other)


@pytest.mark.parametrize("name", ["linear", "ties", "slerp"])
def test_nan_in_an_input_is_named_and_nothing_is_left(memory, tmp_path, name):
    broken = normal(0, 10)
    broken[:5] = torch.nan
    base = memory({"w": normal(1, 10)}, "sound")
    models = [memory({"w": broken}, "broken")]
    merged = merge(name, models, base=base, **({"t": 0.5} if name == "slerp" else {}))
    with pytest.raises(BadCheckpoint, match="w: 5 NaN or infinite entries in the input broken"):
        write(merged, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_overflow_of_the_rounding_is_an_error(memory, tmp_path):
    with pytest.raises(BadCheckpoint, match="w: 1 entry is too large for float16"):
        write(merge("linear", [memory({"w": [1e5, 1]})], dtype="float16"), tmp_path / "out")
