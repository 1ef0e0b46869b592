"""A journal survives a torn line and refuses a stranger's run."""

from __future__ import annotations

import pytest

from consort.core.errors import OutputExists
from consort.core.journal import Journal, key_of, provenance


def test_records_come_back_without_the_torn_last_line(tmp_path):
    journal = Journal(tmp_path / "run", "k1")
    assert journal.open() == []
    journal.append({"score": 0.5})
    with open(journal.path, "ab") as file:
        file.write(b'{"score": 0.')
    assert Journal(tmp_path / "run", "k1").open() == [{"score": 0.5}]
    journal.append({"score": 0.75})
    assert Journal(tmp_path / "run", "k1").open() == [{"score": 0.5}, {"score": 0.75}]


def test_another_run_or_other_files_are_refused_without_force(tmp_path):
    Journal(tmp_path, "k1").open()
    with pytest.raises(OutputExists, match="another run"):
        Journal(tmp_path, "k2").open()
    assert Journal(tmp_path, "k2", force=True).open() == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(OutputExists, match="not empty"):
        Journal(tmp_path / "other", "k1").open()


def test_keys_are_stable_and_ordered_by_content():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) != key_of({"a": 2, "b": [2]})


def test_provenance_names_versions():
    record = provenance(plan="x", inputs=[], seed=3)
    assert record["seed"] == 3 and record["versions"]["consort"]
