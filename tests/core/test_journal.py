"""A journal survives a torn line and refuses a stranger's run."""

from __future__ import annotations

import subprocess
import sys

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


def lines_of(journal):
    return journal.path.read_bytes().splitlines(keepends=True)


def three(folder, **options):
    journal = Journal(folder, "k1", **options)
    journal.open()
    for number in (0.25, 0.5, 0.75):
        journal.append({"score": number})
    return journal


@pytest.mark.parametrize(
    "line", [b"garbage", b"[1]", b"3", b'{"a": \xff}', b"", b"[" * 100000, b'{"score": 0.5}', b"\xe2\x80\xa8"]
)
def test_F20_a_damaged_line_is_left_out_and_told_once(line, tmp_path, caplog):
    journal = three(tmp_path / "run")
    lines = lines_of(journal)
    journal.path.write_bytes(b"".join([*lines[:2], line + b"\n", *lines[3:]]))
    assert Journal(tmp_path / "run", "k1").open() == [{"score": 0.25}, {"score": 0.75}]
    [told] = [record.getMessage() for record in caplog.records]
    assert "journal.jsonl:3: damaged or changed" in told
    caplog.clear()
    assert Journal(tmp_path / "run", "k1").open() == [{"score": 0.25}, {"score": 0.75}] and not caplog.records


@pytest.mark.parametrize(("old", "new"), [(b"0.5", b"0.6"), (b"score", b"sCore"), (b"0.5", b"0.50")])
def test_F20_a_changed_line_is_not_believed(old, new, tmp_path, caplog):
    journal = three(tmp_path / "run")
    journal.path.write_bytes(journal.path.read_bytes().replace(old, new, 1))
    assert {"score": 0.6} not in Journal(tmp_path / "run", "k1").open()
    assert "damaged or changed" in caplog.text


def test_F20_a_changed_checksum_or_two_lines_joined_are_damage(tmp_path, caplog):
    journal = three(tmp_path / "run")
    head, one, two, last = lines_of(journal)
    journal.path.write_bytes(head + one[:-4] + b'f"}\n' + two[:-1] + last)
    found = Journal(tmp_path / "run", "k1").open()
    assert found == [] and "2, 3" in caplog.text


def test_F20_where_records_follow_each_other_all_after_a_damaged_one_are_left_out(tmp_path, caplog):
    journal = three(tmp_path / "run")
    journal.path.write_bytes(journal.path.read_bytes().replace(b"0.5", b"0.6"))
    assert Journal(tmp_path / "run", "k1", ordered=True).open() == [{"score": 0.25}]
    assert "2 lines" in caplog.text


def test_F20_a_damaged_first_line_is_refused_and_force_starts_anew(tmp_path):
    journal = three(tmp_path / "run")
    journal.path.write_bytes(journal.path.read_bytes().replace(b"k1", b"k2"))
    with pytest.raises(BadData, match=r"journal\.jsonl:1") as caught:
        Journal(tmp_path / "run", "k1").open()
    assert "--force" in caught.value.hint
    assert Journal(tmp_path / "run", "k1", force=True).open() == []
    assert Journal(tmp_path / "run", "k1").open() == []


def test_a_kill_before_the_first_line_leaves_a_folder_that_can_be_used(tmp_path):
    for torn in (b"", b'{"run": "k'):
        (tmp_path / "journal.jsonl").write_bytes(torn)
        assert Journal(tmp_path, "k1").open() == []


def test_records_that_are_not_sound_are_left_out_and_told(tmp_path, caplog):
    journal = Journal(tmp_path / "run", "k1", sound=lambda record: "key" in record)
    journal.open()
    journal.append({"kye": 1})
    journal.append({"key": 1})
    assert journal.open() == [{"key": 1}] and "jsonl:2" in caplog.text


OTHER = """
import sys
from pathlib import Path
from consort.core.errors import OutputExists
from consort.core.journal import Journal
try:
    Journal(Path(sys.argv[1]), "k1", force=len(sys.argv) > 2).open()
except OutputExists as refused:
    print(refused)
"""


def elsewhere(folder, *more):
    """What another process says that opens the same run."""
    command = [sys.executable, "-c", OTHER, str(folder), *more]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_F19_a_second_process_is_refused_by_name(tmp_path):
    journal = three(tmp_path / "run")
    assert elsewhere(tmp_path / "run") == f"{tmp_path / 'run'}: another process is working in it"
    assert "another process" in elsewhere(tmp_path / "run", "force")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["journal.jsonl"]
    del journal
    assert elsewhere(tmp_path / "run") == ""


def test_F19_this_process_may_open_a_run_again(tmp_path):
    first, second = three(tmp_path / "run"), Journal(tmp_path / "run", "k1")
    assert len(second.open()) == 3
    del first
    assert "another process" in elsewhere(tmp_path / "run")


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


def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(tmp_path):
    Journal(tmp_path, "k").open()
    (tmp_path / "states").mkdir()
    for torn in (tmp_path / ".plan.yml.82q9ess6.torn", tmp_path / "states" / ".a.json.x1.torn"):
        torn.write_bytes(b"half")
    Journal(tmp_path, "k").open()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["journal.jsonl", "states"]
