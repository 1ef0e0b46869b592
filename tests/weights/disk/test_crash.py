"""Kills and faults at every moment of a merge: never a half result under its name, and a rerun gives the same bytes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.merge import merge
from consort.weights.disk.folder import open_folder
from consort.weights.disk.whole_folder import Disk
from consort.weights.disk.writer import Written, write

MakeFolder = Callable[..., Path]
Sources = list[Path]
PLAN = {"ties": "of the three folders"}


def tensors(seed: int, count: int, side: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {f"t{i}": torch.randn(side, side, generator=rng).bfloat16() for i in range(count)}


@pytest.fixture
def sources(make_folder: MakeFolder) -> Sources:
    """Two models and their base, of four small tensors."""
    return [make_folder(name, weights=tensors(i, 4, 5)) for i, name in enumerate(("one", "two", "base"))]


def written(sources: Sources, out: Path, threads: int = 1, disk: Disk | None = None) -> Written:
    one, two, base = (open_folder(path) for path in sources)
    merged = merge("ties", [one, two], base=base)
    return write(merged, out, threads=threads, shard_bytes=120, plan=PLAN, disk=disk)


def snapshot(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


class Torn(Disk):
    """The operation numbered `fatal` fails; of what it should write half is written."""

    def __init__(self, fatal: int, number: int) -> None:
        self.left, self.number = fatal, number

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))

    def create(self, path: Path, nbytes: int) -> int:
        self._count()
        return super().create(path, nbytes)

    def write_at(self, handle: int, data: memoryview, offset: int) -> None:
        try:
            self._count()
        except OSError:
            super().write_at(handle, data[: len(data) // 2], offset)
            raise
        super().write_at(handle, data, offset)

    def sync(self, handle: int) -> None:
        self._count()
        super().sync(handle)

    def sync_folder(self, path: Path) -> None:
        self._count()
        super().sync_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._count()
        super().unlink(path)


class Full(Disk):
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write_at(self, handle: int, data: memoryview, offset: int) -> None:
        super().write_at(handle, data[: self.room], offset)
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("number", "threads"), [(errno.EIO, 1), (errno.ENOSPC, 2)])
def test_each_operation_may_fail_and_a_rerun_gives_the_same(
    number: int, threads: int, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consort.weights.disk.stream.SYNC_BYTES", 100)
    written(sources, tmp_path / "whole" / "out")
    expected = snapshot(tmp_path / "whole" / "out")
    for fatal in range(1, 500):
        out, disk = tmp_path / f"{threads}-{fatal}" / "out", Torn(fatal, number)
        try:
            written(sources, out, threads, disk)
        except EnvironmentFailure:
            if out.exists():  # only what follows the rename failed
                assert snapshot(out) == expected
            else:
                assert not out.parent.exists()
                written(sources, out, threads)
        assert snapshot(out) == expected and [entry.name for entry in out.parent.iterdir()] == ["out"]
        if disk.left > 0:
            break
    else:
        pytest.fail("the loop should end with a run that meets no fault")
    assert fatal > 20


def test_a_disk_may_be_full_at_any_byte(sources: Sources, tmp_path: Path) -> None:
    written(sources, tmp_path / "whole" / "out")
    expected = snapshot(tmp_path / "whole" / "out")
    total = sum(map(len, expected.values()))
    for room in range(0, total, total // 12):
        with pytest.raises(ConsortError, match="No space left") as caught:
            written(sources, tmp_path / "a" / "out", disk=Full(room))
        assert caught.value.exit_code == 3 and not (tmp_path / "a").exists()
    written(sources, tmp_path / "a" / "out", disk=Full(2 * total))
    assert snapshot(tmp_path / "a" / "out") == expected


KILLER = """
import os, random, signal, sys, time, traceback
from pathlib import Path
from consort.merge import merge
from consort.weights.disk import stream
from consort.weights.disk.folder import open_folder
from consort.weights.disk.writer import write

folders, parent, kills = sys.argv[1:4], Path(sys.argv[4]), int(sys.argv[5])
stream.SYNC_BYTES = 200_000

def start(out):
    child = os.fork()
    if child:
        return child
    try:
        one, two, base = map(open_folder, folders)
        done = write(merge("ties", [one, two], base=base), out, threads=2, shard_bytes=3_000_000, plan={"ties": "x"})
        print("resumed", done.resumed, flush=True)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def begun(out):
    while not (out.exists() or any(out.parent.glob("out.partial-*"))):
        time.sleep(1e-4)
    return time.monotonic()

def finish(out):
    child = start(out)
    since = begun(out)
    assert os.waitpid(child, 0)[1] == 0
    return time.monotonic() - since

window = finish(parent / "whole" / "out")
moments = random.Random(1)
killed = 0
for number in range(20 * kills):
    if killed == kills:
        break
    out = parent / str(number) / "out"
    child = start(out)
    begun(out)
    time.sleep(moments.uniform(0, window))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not out.exists():
        killed += 1
        finish(out)
print("killed", killed)
"""


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_between_the_first_file_and_the_rename(kills: int, make_folder: MakeFolder, tmp_path: Path) -> None:
    folders = [str(make_folder(n, weights=tensors(i, 40, 300))) for i, n in enumerate(("one", "two", "base"))]
    command = [sys.executable, "-c", KILLER, *folders, str(tmp_path / "runs"), str(kills)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    expected = snapshot(tmp_path / "runs" / "whole" / "out")
    runs = sorted((tmp_path / "runs").iterdir())
    for run in runs:  # a run that was killed after its rename is whole as well
        assert [entry.name for entry in run.iterdir()] == ["out"] and snapshot(run / "out") == expected
    resumed = [int(line.split()[1]) for line in said if line.startswith("resumed")]
    assert f"killed {kills}" in said and max(resumed) > 0 and len(runs) > kills
