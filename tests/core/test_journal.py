"""A journal survives a torn line and refuses a stranger's run."""

from __future__ import annotations

import pytest

from consort.core.errors import BadData, BadParameter, OutputExists
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


@pytest.mark.parametrize("line", [b"garbage", b"[1]", b"3", b'{"a": \xff}', b"", b"[" * 100000])
def test_a_damaged_line_is_named_and_force_starts_anew(line, tmp_path):
    journal = Journal(tmp_path / "run", "k1")
    journal.open()
    with open(journal.path, "ab") as file:
        file.write(line + b"\n")
    with pytest.raises(BadData, match=r"journal\.jsonl:2") as caught:
        Journal(tmp_path / "run", "k1").open()
    assert "--force" in caught.value.hint
    assert Journal(tmp_path / "run", "k1", force=True).open() == []
    assert Journal(tmp_path / "run", "k1").open() == []


def test_records_that_are_not_sound_are_damage(tmp_path):
    journal = Journal(tmp_path / "run", "k1", sound=lambda record: "key" in record)
    journal.open()
    journal.append({"key": 1})
    assert journal.open() == [{"key": 1}]
    journal.append({"kye": 1})
    with pytest.raises(BadData, match="jsonl:3"):
        journal.open()


def test_links_and_files_are_no_run_folders(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OutputExists, match="is a link"):
        Journal(tmp_path / "link", "k1", force=True).open()
    (tmp_path / "file").write_text("mine")
    for bad in ("file", "file/sub", "x" * 300):
        with pytest.raises(BadParameter):
            Journal(tmp_path / bad, "k1").open()
    (tmp_path / "real" / "journal.jsonl").symlink_to(tmp_path / "file")
    with pytest.raises(OutputExists, match="is a link"):
        Journal(tmp_path / "real", "k1", force=True).open()
    assert (tmp_path / "file").read_text() == "mine"
