"""Linux and macOS by name: caches, /proc, processes, disks that do not tell capitals apart, calls that one lacks."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from stat import S_ISDIR

import pytest
import torch

from consort import lab
from consort.core import files, processor
from consort.core.cache import cache_folder
from consort.core.errors import BadParameter, BadPlan, OutputExists, Unsupported
from consort.core.files import is_same, read_at, write_at
from consort.evaluate.sandbox import run_program
from consort.federate.plan import parse_federate
from consort.knowledge import sql_reader
from consort.merge.collect.through_merge import collect_through_merge
from consort.models.fake import FakeModel
from consort.search.engine.workers import Processes
from consort.server.operations.workers import run_workers
from consort.server.run import Server
from consort.weights.checkpoint import Memory
from consort.weights.disk import whole_folder
from consort.weights.disk.whole_folder import Disk, Partial, check_target, lies_in

SYSTEMS = ("linux", "darwin")


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "platform", request.param)
    return str(request.param)


# caches


@pytest.mark.parametrize(
    ("given", "wanted"), [("/somewhere", "/somewhere"), ("relative", "/home/ann/.cache"), ("", "/home/ann/.cache")]
)
def test_the_cache_is_where_the_user_says_or_in_the_home(
    given: str, wanted: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == Path(wanted) / "consort"


# /proc


def test_a_processor_has_a_name_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    with_proc = processor.processor.__wrapped__()
    real = Path.read_text

    def absent(self: Path, *given: object, **named: object) -> str:
        if str(self).startswith("/proc"):
            raise FileNotFoundError(self)
        return real(self, *given, **named)

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert processor.processor.__wrapped__() == "arm64 arm" != with_proc


# processes


def test_workers_are_started_afresh_on_every_system(system: str) -> None:
    with Processes(lambda: lambda job: [], 1) as pool:
        assert pool._pool._mp_context.get_start_method() == "spawn"


def test_where_nothing_forks_one_process_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    server = Server(models={"echo": FakeModel(lambda text: text, name="echo")}, port=0)
    with pytest.raises(Unsupported, match="can fork"):
        run_workers(server, 2)


def test_programs_of_models_run_on_linux_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(Unsupported, match="files and network"):
        run_program("open('/tmp/x', 'w')")
    assert not list(tmp_path.iterdir())


def test_where_addresses_have_no_bound_a_statement_still_has_its_time(tmp_path: Path) -> None:
    """macOS refuses RLIMIT_AS. The process that reads is bounded by its clock."""
    program = (
        "import resource, runpy, sys\n"
        "real = resource.setrlimit\n"
        "def refuses(what, limits):\n"
        "    if what == resource.RLIMIT_AS: raise ValueError('current limit exceeds maximum limit')\n"
        "    real(what, limits)\n"
        "resource.setrlimit = refuses\n"
        f"runpy.run_path({sql_reader.__file__!r}, run_name='__main__')\n"
    )
    database = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(database)) as made:
        made.executescript("create table t (a); insert into t values (3);")
    request = {"dialect": "sqlite", "path": str(database), "sql": "select a from t", "timeout_s": 5.0, "rows": 9,
               "letters": 999, "functions": []}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], input=json.dumps(request), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == [[3]]


# disks that do not tell capitals apart


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are found by any capitals, as on the disk of a Mac."""
    stat, listdir = os.stat, os.listdir

    def is_folder(path: str) -> bool:
        return os.path.lexists(path) and S_ISDIR(stat(path).st_mode)

    def actual(path: str) -> str:
        found = "/"
        for part in Path(os.path.abspath(path)).parts[1:]:
            same = [name for name in listdir(found) if name.lower() == part.lower()] if is_folder(found) else []
            found = os.path.join(found, part if part in same or not same else same[0])
        return found

    def other(path: object) -> object:
        return path if isinstance(path, int) or os.path.lexists(path) else actual(os.fspath(path))

    monkeypatch.setattr(os, "listdir", lambda path=".": listdir(other(path)))
    monkeypatch.setattr(os, "stat", lambda path, **named: stat(other(path), **named))


def test_an_input_under_other_capitals_is_not_written_onto(blind: None, tmp_path: Path) -> None:
    model = tmp_path / "Models" / "Mine"
    model.mkdir(parents=True)
    for place in ("models/mine", "MODELS", "models/MINE/deeper"):
        with pytest.raises(OutputExists, match="overlaps the input"):
            check_target(tmp_path / place, [model], force=True)
    check_target(tmp_path / "models" / "other", [model], force=True)
    assert is_same(model, tmp_path / "mODELS" / "mINE") and not lies_in(tmp_path / "other", model)


@pytest.mark.parametrize("clients", [["Ann", "bob", "ann"], {"Ann": "a.jsonl", "ANN": "b.jsonl"}])
def test_folders_of_names_that_differ_in_capitals_are_not_mixed(clients: object) -> None:
    with pytest.raises(BadPlan, match="capitals"):
        parse_federate({"model": "lab:base", "data": "rows.jsonl", "clients": clients})


def test_nor_are_statistics_of_models(tmp_path: Path) -> None:
    models = [Memory({"w": torch.ones(2)}, {}, name=name) for name in ("a", "A")]
    with pytest.raises(BadParameter, match="capitals"):
        collect_through_merge(models, {"a": ["x"], "A": ["y"]}, tmp_path / "out")


# calls that one of them lacks, or does otherwise


def test_what_is_read_and_written_is_the_same_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS takes less than 2 GiB at once, and Windows has neither pread nor pwrite."""
    monkeypatch.setattr(files, "MOST_AT_ONCE", 7)
    data = bytes(range(100))
    for number, lacking in enumerate(((), ("preadv", "pwrite"))):
        for name in lacking:
            monkeypatch.delattr(os, name)
        handle = os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT)
        try:
            write_at(handle, memoryview(b"head"), 0)
            write_at(handle, memoryview(data), 4)
            found = bytearray(100)
            assert read_at(handle, memoryview(found), 4) == 7
            for start in range(0, 100, 7):
                read_at(handle, memoryview(found)[start:], 4 + start)
            assert bytes(found) == data and read_at(handle, memoryview(found), 104) == 0
        finally:
            os.close(handle)


def test_a_folder_is_exchanged_without_the_call_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(whole_folder.ctypes, "CDLL", None)  # not asked for
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    Disk().exchange(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]


def test_a_folder_gets_its_name_when_nothing_in_it_is_open(tmp_path: Path) -> None:
    """Windows moves no folder with an open file in it; /proc shows here what is open."""
    seen: list[list[str]] = []

    class Watched(Disk):
        def rename(self, old: Path, new: Path) -> None:
            places = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if _is_open(n)]
            seen.append([place for place in places if place.startswith(f"{old}/")])
            super().rename(old, new)

    with Partial(tmp_path / "out", "key", Watched()) as partial:
        partial.finished()
        partial.record({"w": 0})
        partial.disk.write_file(partial.path / "a", b"a")
        partial.commit(["a"])
    assert seen == [[]] and (tmp_path / "out" / "a").read_bytes() == b"a"


def _is_open(number: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{number}")


@pytest.mark.skipif(sys.platform not in SYSTEMS, reason="Linux and macOS")
def test_the_lab_is_found_by_any_system() -> None:
    assert (lab.path("mirror") / "model.safetensors").is_file()
