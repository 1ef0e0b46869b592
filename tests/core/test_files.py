"""Files are whole or absent."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from consort.core.errors import BadData, BadParameter, EnvironmentFailure
from consort.core.files import check_place, clear_torn, read_stdin, sha256_of, write_atomic, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    write_json(target, {"x": 1})
    before = sha256_of(target)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        write_atomic(target, "new")
    assert sha256_of(target) == before and os.listdir(tmp_path) == ["a.json"]


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_meant_are_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("mine")
    for bad in (tmp_path / "file" / "sub", tmp_path / "no" / "x", tmp_path / ("x" * 300), tmp_path):
        with pytest.raises(BadParameter) as caught:
            write_atomic(bad, "new")
        assert caught.value.field == str(bad) and caught.value.hint
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_is_checked_without_making_it(tmp_path):
    (tmp_path / "file").write_text("mine")
    for bad in ("", tmp_path / "file" / "sub", tmp_path / "new" / ("x" * 250)):
        with pytest.raises(BadParameter):
            check_place(bad)
    for good in (".", "/", tmp_path, tmp_path / "new" / "sub"):
        check_place(good)
    assert os.listdir(tmp_path) == ["file"]


def test_numbers_stand_on_one_line_and_come_back(tmp_path):
    value = {"name": "é", "rows": [[1.0, 2.5], [3.0, 1.0]], "empty": {}, "none": [], "more": [{"a": (1, 2)}, 3]}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert '  "rows": [[1.0, 2.5], [3.0, 1.0]],\n' in text and len(text.splitlines()) == 12
    assert json.loads(text) == {**value, "more": [{"a": [1, 2]}, 3]}


def test_standard_input_must_be_text(monkeypatch):
    for errors in ("strict", "surrogateescape"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), "utf-8", errors))
        with pytest.raises(BadData, match="PROMPT: is not UTF-8"):
            read_stdin("PROMPT")


def test_what_a_kill_leaves_is_removed_and_nothing_else(tmp_path):
    code = """
import os, sys
from pathlib import Path
from consort.core.files import whole_file
with whole_file(Path(sys.argv[1]) / "deeper" / "plan.yml") as file:
    file.write(b"half")
    os._exit(9)
"""
    (tmp_path / "deeper").mkdir()
    (tmp_path / ".gitignore.original").write_text("mine")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (tmp_path / "deeper" / ".tmppshPoQ").write_bytes(b"half a file of safetensors")
    assert len(list((tmp_path / "deeper").iterdir())) == 2
    clear_torn(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".gitignore.original", "deeper"]
