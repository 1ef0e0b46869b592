"""Small tensors moved many at a time: the same bytes as one by one."""

from __future__ import annotations

import pytest
import torch

from consort.merge import merge
from consort.weights.checkpoint import Memory, Spec, read_many
from consort.weights.disk.folder import open_folder
from consort.weights.disk.layout import Place
from consort.weights.disk.small_tensors import batches, rows
from consort.weights.disk.whole_folder import Disk
from consort.weights.disk.writer import write


def places(*sizes, dtype=torch.float32):
    found, offset = [], 100
    for i, size in enumerate(sizes):
        found.append(Place(f"t{i}", Spec((size,), dtype), 0, offset))
        offset += found[-1].spec.nbytes
    return found


def test_batches_leave_out_the_large_and_hold_one_dtype_and_a_block_at_most(monkeypatch):
    monkeypatch.setattr("consort.weights.disk.small_tensors.BLOCK", 10)
    given = [*places(6, 4, 1, 5_000, 3), *places(2, 0, dtype=torch.int64)]
    found = batches(given, 7)
    assert [batch.sizes for batch in found] == [[6, 4], [1, 3], [2, 0]]
    assert [batch.number for batch in found] == [7, 8, 9]


def test_rows_are_what_lies_together_in_the_file():
    a, b, c, d = places(2, 3, 5, 1)
    assert [(first.name, start, stop) for first, start, stop in rows([a, b, d])] == [("t0", 0, 20), ("t3", 20, 24)]
    assert [(first.name, start, stop) for first, start, stop in rows([c])] == [("t2", 0, 20)]


def test_many_read_at_once_are_what_each_is(tmp_path):
    tensors = {f"t{i}": torch.randn(i % 4, 3, generator=torch.Generator().manual_seed(i)) for i in range(9)}
    tensors["half"], tensors["t9"] = torch.ones(5).half(), torch.ones(2)
    write(Memory(tensors, {}), tmp_path / "model", shard_bytes=150)
    with open_folder(tmp_path / "model") as folder:
        names = ["t3", "t4", "t0", "half", "t9", "t1"]
        out = torch.empty(sum(tensors[name].numel() for name in names), dtype=torch.float64)
        read_many(folder, names, out)
    assert out.equal(torch.cat([tensors[name].double().flatten() for name in names]))


class Interrupted(Disk):
    """Ctrl-C at the write `fatal`."""

    def __init__(self, fatal):
        self.left = fatal

    def write_at(self, handle, data, offset):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        super().write_at(handle, data, offset)


@pytest.mark.parametrize("name", ["linear", "ties", "della", "sce", "karcher"])
def test_batches_cut_otherwise_and_resumed_give_the_same_bytes(name, tmp_path, monkeypatch):
    def model(seed):
        drawn = torch.Generator().manual_seed(seed)
        return Memory({f"layers.{i}.w": torch.randn(3, 1 + i % 5, generator=drawn).bfloat16() for i in range(40)}, {})

    merged = merge(name, [model(1), model(2)], base=model(0))
    write(merged, tmp_path / "whole")
    expected = (tmp_path / "whole" / "model.safetensors").read_bytes()
    with open_folder(tmp_path / "whole") as whole:
        assert all(whole[key].equal(merged[key]) for key in whole.keys())
    monkeypatch.setattr("consort.weights.disk.small_tensors.BLOCK", 100)
    monkeypatch.setattr("consort.weights.disk.stream.SYNC_BYTES", 1)
    with pytest.raises(KeyboardInterrupt):
        write(merged, tmp_path / "out", plan={}, threads=1, disk=Interrupted(7))
    monkeypatch.setattr("consort.weights.disk.small_tensors.BLOCK", 64)
    done = write(merged, tmp_path / "out", plan={}, threads=2)
    assert 0 < done.resumed < 40 and (tmp_path / "out" / "model.safetensors").read_bytes() == expected
