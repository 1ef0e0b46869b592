"""Kills, faults, full disks and rivals: an output is the old one or the new one, never a part of one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from consort.core.errors import BadParameter, EnvironmentFailure, OutputExists
from consort.weights.checkpoint import Memory
from consort.weights.disk.folder import open_folder
from consort.weights.disk.whole_folder import Disk, Partial
from consort.weights.disk.writer import write
from consort.weights.views.basic import Cast

MakeFolder = Callable[..., Path]
KILLS = int(os.environ.get("CONSORT_KILLS", "8"))
OPERATIONS = ["create", "write_at", "sync", "write_file", "sync_folder", "rename", "exchange", "unlink"]


class Failing(Disk):
    """Every operation counts; the one numbered `fatal` fails."""

    def __init__(self, fatal: int, error: BaseException) -> None:
        self.fatal, self.error, self.count = fatal, error, 0

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in OPERATIONS:
            return method

        def counted(*arguments: Any) -> Any:
            self.count += 1
            if self.count == self.fatal:
                raise self.error
            return method(*arguments)

        return counted


def snapshot(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()} if path.exists() else {}


@pytest.mark.parametrize("number", [28, 5])  # ENOSPC, EIO
@pytest.mark.parametrize("replace", [False, True])
def test_whichever_operation_fails_the_output_is_old_or_new(number: int, replace: bool, tmp_path: Path) -> None:
    new = Memory({"a": torch.ones(5), "b": torch.zeros(3)}, {}, files={"tokenizer.json": b"{}"})
    write(new, tmp_path / "new" / "out", shard_bytes=20)
    complete = snapshot(tmp_path / "new" / "out")
    for fatal in range(1, 1000):
        parent = tmp_path / str(fatal)
        out = parent / "out"
        if replace:
            write(Memory({"old": torch.ones(1)}, {}), out)
        before = snapshot(out)
        disk = Failing(fatal, OSError(number, os.strerror(number)))
        try:
            write(new, out, threads=1, shard_bytes=20, force=True, disk=disk)
        except EnvironmentFailure as error:
            assert error.exit_code == 3 and error.hint
            assert snapshot(out) in (before, complete)
            assert not parent.exists() or all(entry.name == "out" for entry in parent.iterdir())
        else:
            break
    else:
        pytest.fail("the loop should end with a run that meets no fault")
    assert fatal > 15 and disk.count < fatal and snapshot(out) == complete


def test_an_interruption_leaves_the_partial_folder_which_is_resumed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("consort.weights.disk.stream.SYNC_BYTES", 1)
    source = Memory({f"t{i}": torch.full((5_000,), float(i)) for i in range(20)}, {})
    write(source, tmp_path / "whole" / "out", plan={})
    expected = snapshot(tmp_path / "whole" / "out")
    out = tmp_path / "out"
    for fatal in range(1, 400, 7):
        try:
            done = write(source, out, threads=1, plan={}, disk=Failing(fatal, KeyboardInterrupt()))
            break
        except KeyboardInterrupt:
            assert not out.exists() and len(list(tmp_path.glob("out.partial-*"))) == 1
    assert done.resumed > 5 and snapshot(out) == expected
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "whole"]


KILLER = """
import os, random, signal, sys, time, traceback, torch
from consort.weights.disk import stream
from consort.weights.disk.folder import open_folder
from consort.weights.views.basic import Cast
from consort.weights.disk.writer import write

source, parent, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
stream.SYNC_BYTES = 200_000

def start(out):
    child = os.fork()
    if child:
        return child
    try:
        done = write(Cast(open_folder(source), torch.float32), out, threads=2, plan={"cast": "x"})
        os.write(1, f"resumed {done.resumed}\\n".encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def finish(out):
    assert os.waitpid(start(out), 0)[1] == 0

begun = time.monotonic()
finish(f"{parent}/whole/out")
duration = time.monotonic() - begun
moments = random.Random(1)
for number in range(kills):
    out = f"{parent}/{number}/out"
    child = start(out)
    time.sleep(moments.uniform(0, duration))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("whole" if os.path.exists(out) else "killed", flush=True)
    if not os.path.exists(out):
        finish(out)
"""


def test_killed_at_any_moment_and_run_again_it_ends_in_the_same_bytes(make_folder: MakeFolder, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    source = make_folder(weights={f"t{i}": torch.randn(300, 200, generator=rng).half() for i in range(60)})
    command = [sys.executable, "-c", KILLER, str(source), str(tmp_path / "runs"), str(KILLS)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    expected = snapshot(tmp_path / "runs" / "whole" / "out")
    for number in range(KILLS):
        assert snapshot(tmp_path / "runs" / str(number) / "out") == expected
        assert [entry.name for entry in (tmp_path / "runs" / str(number)).iterdir()] == ["out"]
    resumed = [int(line.split()[1]) for line in said if line.startswith("resumed")]
    assert said.count("killed") > KILLS // 4 and max(resumed) > 0


def test_a_changed_input_starts_anew(make_folder: MakeFolder, tmp_path: Path) -> None:
    path, out = make_folder(), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write(open_folder(path), out, threads=1, plan={}, disk=Failing(14, KeyboardInterrupt()))
    os.utime(path / "model.safetensors", ns=(1, 1))
    assert write(open_folder(path), out, plan={}).resumed == 0
    assert not list(tmp_path.glob("out.partial-*"))


def test_a_computed_checkpoint_without_a_plan_is_not_resumed(make_folder: MakeFolder, tmp_path: Path) -> None:
    path, out = make_folder(), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write(Cast(open_folder(path), torch.float32), out, threads=1, disk=Failing(14, KeyboardInterrupt()))
    assert list(tmp_path.glob("out.partial-*"))
    assert write(Cast(open_folder(path), torch.float32), out).resumed == 0


def test_a_torn_line_of_the_journal_is_dropped(tmp_path: Path) -> None:
    with Partial(tmp_path / "out", "k", Disk()) as partial:
        assert partial.finished() == {}
        partial.record({"a": 0, "b": 2})
        with open(partial.path / ".journal", "ab") as file:
            file.write(b'{"c": ')
        assert partial.finished() == {"a": 0, "b": 2}
        partial.record({"d": 0})
        assert partial.finished() == {"a": 0, "b": 2, "d": 0}


@pytest.mark.parametrize("key", ["same", "other"])
def test_a_second_writer_is_refused_by_name(key: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Partial(out, "same", Disk()):
        with pytest.raises(OutputExists, match="another run is writing it") as caught, Partial(out, key, Disk()):
            pass
        assert caught.value.field == str(out)
        assert [entry.name for entry in tmp_path.iterdir()] == ["out.partial-same"]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    (tmp_path / "out.partial-k").symlink_to(victim)
    with pytest.raises(BadParameter), Partial(tmp_path / "out", "k", Disk()):
        pass
    assert (victim / "file").read_text() == "precious"


LIMITED = """
import resource, sys, torch
from consort.core.errors import ConsortError
from consort.weights.checkpoint import Memory
from consort.weights.disk.writer import write
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write(Memory({"a": torch.ones(50_000)}, {}), sys.argv[1])
except ConsortError as error:
    print(error.exit_code, error, error.hint)
"""


def test_a_full_disk_is_the_machines_fault_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "new" / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("3 ") and "File too large" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_noticed_before_writing(memory: Memory, tmp_path: Path, monkeypatch: Any) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(EnvironmentFailure, match="disk full: [0-9]+ bytes are needed and 1000 are free"):
        write(memory, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_swap_without_the_systems_exchange_works_too(memory: Memory, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("consort.weights.disk.whole_folder._renameat2", lambda one, other: False)
    write(memory, tmp_path / "out")
    write(Memory({"new": torch.ones(1)}, {}), tmp_path / "out", force=True)
    assert open_folder(tmp_path / "out").keys() == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


class Ordered(Disk):
    """Knows which files have unsynced data, and that the journal is never written while one has."""

    def __init__(self) -> None:
        self.journal, self.notes = -1, 0
        self.dirty: set[int] = set()

    def create(self, path: Path, nbytes: int) -> int:
        handle = super().create(path, nbytes)
        if path.name == ".journal":
            self.journal = handle
        return handle

    def write_at(self, handle: int, data: memoryview, offset: int) -> None:
        super().write_at(handle, data, offset)
        if handle == self.journal:
            assert not self.dirty
            self.notes += 1
        else:
            self.dirty.add(handle)

    def sync(self, handle: int) -> None:
        super().sync(handle)
        self.dirty.discard(handle)

    def write_file(self, path: Path, data: bytes) -> None:
        super().write_file(path, data)
        assert not self.dirty

    def rename(self, old: Path, new: Path) -> None:
        assert not self.dirty
        super().rename(old, new)


def test_data_is_synced_before_the_journal_says_so_and_before_the_rename(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("consort.weights.disk.stream.SYNC_BYTES", 40_000)
    disk = Ordered()
    source = Memory({f"t{i}": torch.full((5_000,), float(i)) for i in range(20)}, {})
    write(source, tmp_path / "out", threads=1, shard_bytes=100_000, disk=disk)
    assert disk.notes >= 10 and not disk.dirty


def test_counts_of_nonfinite_entries_survive_an_interruption(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("consort.weights.disk.stream.SYNC_BYTES", 1)
    source = Memory({"large": torch.full((50,), float("nan")), "small": torch.ones(3)}, {})
    with pytest.raises(KeyboardInterrupt):
        write(source, tmp_path / "out", threads=1, allow_nonfinite=True, disk=Failing(9, KeyboardInterrupt()))
    done = write(source, tmp_path / "out", threads=1, allow_nonfinite=True)
    assert done.resumed >= 1 and done.nonfinite == {"large": 50}
