"""Building an index: what is read, that a kill costs nothing, and what is refused with nothing left."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consort.core.errors import BadData, BadParameter, ConsortError, OutputExists
from consort.core.journal import Journal
from consort.knowledge import build as building
from consort.knowledge.build import Settings, build
from consort.knowledge.sentences import packed, sentences, words_in
from consort.knowledge.text_index import TextIndex
from consort.knowledge.words import Words
from tests.knowledge.conftest import hashed

ENCODER = {"name": "hashed", "digest": "00"}
SETTINGS = Settings(Words(stem="s"), length=20, overlap=1, encoder=ENCODER)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_documents_of_all_kinds_are_read(documents: Path, tmp_path: Path) -> None:
    index = TextIndex.open(build([documents], tmp_path / "out"))
    assert index.passages.sources == ["deep/note.md", "long.txt", "page.html", "rows.jsonl"]
    [whale] = index.bm25("whales", 3)
    assert (whale.text, whale.source) == ("Whales are blue.", "page.html")
    [row] = index.bm25("1521", 3)
    assert (row.id, row.text) == ("r39", "Row 39\nRow number 39 says 1521.")
    [dog] = index.bm25("犬は", 3)
    assert dog.source == "deep/note.md"
    assert not index.bm25("evil", 1)
    for i in range(len(index)):
        one = index.passages[i]
        if one.source.endswith((".txt", ".md")):
            text = (documents / one.source).read_text()
            assert text[slice(*one.span)] == one.text
            assert words_in(one.text) <= 200


class Killed(BaseException):
    """Stands for a kill between two steps."""


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "BLOCK", 16)
    monkeypatch.setattr(building, "ENCODED", 16)


def test_a_build_killed_at_any_moment_ends_the_same(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_blocks: None
) -> None:
    whole = content(build([documents], tmp_path / "whole", settings=SETTINGS, embed=hashed))
    assert "vectors.npy" in whole
    assert not any(name.startswith(("parts", "journal")) for name in whole)
    steps = (Journal, "append"), (building, "_write_block"), (building, "_merge_postings"), (building, "finish")
    moments = 0
    for owner, name in steps:
        real, allowed = getattr(owner, name), 0
        while True:
            left = [allowed]

            def dying(*arguments, left=left, real=real, **named):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return real(*arguments, **named)

            out = tmp_path / f"{name}-{allowed}"
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, dying)
                try:
                    build([documents], out, settings=SETTINGS, embed=hashed)
                except Killed:
                    moments += 1
                else:
                    break
            assert not (out / "index.json").exists()
            assert content(build([documents], out, settings=SETTINGS, embed=hashed)) == whole
            allowed += 1
    assert moments >= 20


@pytest.mark.slow
def test_a_killed_process_ends_the_same(documents: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "consort", "index", str(documents), "--words", "5"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    out = tmp_path / "killed"
    for tenths in range(1, 21):
        process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(tenths / 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    assert content(out) == content(tmp_path / "whole")


def test_a_damaged_part_is_made_again(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_blocks: None
) -> None:
    whole = content(build([documents], tmp_path / "whole", settings=SETTINGS, embed=hashed))
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(building, "_merge_postings", lambda *a: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            build([documents], out, settings=SETTINGS, embed=hashed)
    (out / "parts" / "000001.npz").write_bytes(b"spoilt")
    assert content(build([documents], out, settings=SETTINGS, embed=hashed)) == whole


def test_what_is_built_stays_and_what_has_changed_is_refused(documents: Path, tmp_path: Path) -> None:
    out = build([documents], tmp_path / "out")
    before = content(out), (out / "index.json").stat().st_mtime_ns
    assert build([documents], out) == out
    assert (content(out), (out / "index.json").stat().st_mtime_ns) == before
    moved = documents.rename(tmp_path / "elsewhere")  # the index has the texts
    assert TextIndex.open(out).bm25("fox", 1)
    assert build([moved], out) == out
    (moved / "new.txt").write_text("A badger.")
    with pytest.raises(OutputExists, match="have changed"):
        build([moved], out)
    assert TextIndex.open(build([moved], out, force=True)).bm25("badger", 1)


def spoilt(folder: Path, kind: str) -> Path:
    """A document that cannot be read, or no document."""
    file = folder / f"bad.{'jsonl' if kind in ('json', 'no text', 'twins', 'half') else 'txt'}"
    rows = {"json": "{", "no text": '{"id": 1}', "twins": '{"id": 1, "text": "a"}\n{"id": "1", "text": "b"}'}
    rows["half"] = '{"text": "\\ud800"}'
    if kind in rows:
        file.write_text(rows[kind])
    elif kind.endswith("of nothing"):
        with open(file, "wb") as to:
            to.truncate(3 << 30 if kind.startswith("three") else 1 << 28)
    elif kind == "latin":
        file.write_bytes("déjà".encode("latin-1"))
    elif kind == "empty":
        file.write_text(" \n ")
    elif kind == "signs":
        file.write_text("?! ...")
    elif kind == "packed":
        file = folder / "bad.txt.gz"
        file.write_bytes(gzip.compress(b"text" * 1000)[:-12])
    elif kind == "pdf":
        file = folder / "bad.pdf"
        file.write_bytes(b"%PDF-1.4 nothing")
    return file


KINDS = ["json", "no text", "twins", "half", "a quarter of a gigabyte of nothing", "latin", "empty", "signs", "packed"]


@pytest.mark.parametrize("kind", [*KINDS, pytest.param("three gigabytes of nothing", marks=pytest.mark.slow)])
def test_bad_documents_leave_nothing(tmp_path: Path, kind: str) -> None:
    file = spoilt(tmp_path, kind)
    with pytest.raises(BadData) as caught:
        build([file], tmp_path / "out")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def bomb() -> bytes:
    """A PDF of one page whose content unpacks to gigabytes."""
    import zlib

    stream = zlib.compress(zlib.compress(b"(x) Tj " * (1 << 24), 9), 9)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        b"<< /Filter [/FlateDecode /FlateDecode] /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    body, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return body + b"xref\n0 5\n0000000000 65535 f \n%strailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(body),
    )


@pytest.mark.parametrize("kind", ["no pdf", "bomb"])
def test_a_pdf_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "a.pdf").write_bytes(bomb() if kind == "bomb" else b"%PDF-1.4 nothing")
    with pytest.raises(BadData, match="cannot be read|no text"):
        build([tmp_path / "a.pdf"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_places_that_no_index_can_have(documents: Path, tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="does not exist"):
        build([tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "void").mkdir()
    with pytest.raises(BadParameter, match="no documents"):
        build([tmp_path / "void"], tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists):
        build([documents], tmp_path / "taken")
    assert content(tmp_path / "taken") == {"mine.txt": b"mine"}
    with pytest.raises(ConsortError):
        build([documents], documents / "long.txt" / "out")


def test_passages_are_whole_sentences_that_overlap() -> None:
    text = "One two three. Four five six! Seven eight nine? Ten."
    assert [text[a:b] for a, b in sentences(text)] == ["One two three.", "Four five six!", "Seven eight nine?", "Ten."]
    assert [text[a:b] for a, b in packed(text, 6)] == [
        "One two three. Four five six!",
        "Four five six! Seven eight nine?",
        "Seven eight nine? Ten.",
    ]
    assert packed(text, 0) == [(0, len(text))]
    long = " ".join(["word"] * 50)
    assert [words_in(long[a:b]) for a, b in packed(long, 20)] == [20, 20, 10]
    assert packed("", 20) == packed(" \n", 0) == []


def test_the_verb(documents: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "consort", "index"]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    out = tmp_path / "out"
    done = subprocess.run(
        [*command, str(documents), str(out), "--json"], capture_output=True, text=True, env=environment
    )
    assert json.loads(done.stdout)["passages"] > 40
    bad = subprocess.run([*command, str(tmp_path / "none"), str(tmp_path / "o")], capture_output=True, text=True)
    assert bad.returncode == 2
    assert [line.split(":")[0] for line in bad.stderr.splitlines()] == ["error", "hint"]
    assert not (tmp_path / "o").exists()
