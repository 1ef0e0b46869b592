"""Files are whole or absent."""

from __future__ import annotations

import os

import pytest

from consort.core.errors import EnvironmentFailure
from consort.core.files import sha256_of, write_atomic, write_json


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
