"""Every command and snippet of the README, the tutorials and the pages for those who come from other tools is run.

The quick ones run consort's commands in this process; on demand (`-m slow`) all run as a reader's shell runs them.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
import xml.etree.ElementTree
from pathlib import Path

import pytest

from docs import build
from docs.making.blocks import blocks, commands
from docs.making.walk import Differs, compare, walk

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOREIGN = sorted((DOCS / "coming_from").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((DOCS / "tutorials").glob("*.md")), *FOREIGN]
LONG = {"README.md", "federate.md", "fuse.md"}
"""They search or train for more than ten seconds."""


def run(page, tmp_path, monkeypatch, *, in_process):
    if "curl " in page.read_text("utf-8") and not shutil.which("curl"):
        pytest.skip("there is no curl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    done = 0
    for line, command, expected, printed in walk(page, in_process=in_process):
        try:
            compare(expected, printed)
        except Differs as differs:
            raise AssertionError(f"{page.name}:{line}: {command}: {differs}") from None
        done += 1
    assert done, "nothing was run"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in LONG], ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    run(page, tmp_path, monkeypatch, in_process=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says_in_a_shell(page, tmp_path, monkeypatch):
    run(page, tmp_path, monkeypatch, in_process=False)


@pytest.mark.parametrize(
    ("said", "printed", "same"),
    [
        ("a  0.960  2,592", "a      0.95 2,600", True),  # other processors round differently
        ("a 0.960", "a 0.93", True),
        ("a 0.960", "a 0.80", False),
        ("a -0.400", "a 0.400", False),
        ("a 3", "a 4", False),
        ("a\n…\nb", "a\nx\ny\nb", True),
        ("a\n…\nb", "a\nb", True),
        ("a\nb", "a\nx\nb", False),
        ("in … s", "in 7.5 s", True),
        ("───\nb", "─────\nb", True),
        ("", "whatever", True),
    ],
)
def test_what_is_printed_is_compared(said, printed, same):
    if same:
        compare(said, printed)
    else:
        with pytest.raises(Differs):
            compare(said, printed)


def test_a_command_that_fails_is_no_success(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    for command in ("consort merge nothing.yml out", "false"):
        page.write_text(f"```console\n$ {command}\n```\n")
        with pytest.raises(Differs):
            list(walk(page, in_process=True))


@pytest.mark.parametrize("page", FOREIGN, ids=lambda page: page.stem)
def test_commands_in_tables_are_among_those_that_run(page):
    text = page.read_text("utf-8")
    ran = [c for block in blocks(text) if block.kind == "console" for c, _ in commands(block.text)]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    told = [cell for row in rows for cell in re.findall(r"`(consort [^`]+)`", row.replace("\\|", "|"))]
    elsewhere = {
        "consort federate join URL --data mine.jsonl",
        "consort search",
    }  # needs a second machine; a page of its own
    assert told and [c for c in told if c not in elsewhere and not any(r.startswith(c) for r in ran)] == []


def test_every_page_is_in_the_navigation():
    config = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]

    def named(entries):
        for entry in entries:
            for target in entry.values():
                yield from [target] if isinstance(target, str) else named(target)

    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(named(config["nav"])) == sorted(pages)


@pytest.mark.parametrize("name", build.TUTORIALS)
def test_a_notebook_is_one(name):
    found = json.loads((DOCS / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in found["cells"]}) == len(found["cells"])
    cells = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    for cell in found["cells"]:
        for target in re.findall(r"\]\(([^)#:]+)[#)]", "".join(cell["source"])):
            assert cell["cell_type"] == "code" or (DOCS / "notebooks" / target).exists(), target


@pytest.mark.parametrize("picture", sorted((DOCS / "pictures").iterdir()), ids=lambda path: path.name)
def test_a_picture_is_small_and_loads_nothing(picture):
    assert picture.stat().st_size < 150_000
    if picture.suffix == ".svg":
        text = picture.read_text("utf-8")
        root = xml.etree.ElementTree.fromstring(text)
        assert root.find("{http://www.w3.org/2000/svg}title").text and "prefers-color-scheme: dark" in text
        assert not re.search(r"href|@import|<script|https?://(?!www\.w3\.org)", text)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_a_familys_page_has_its_picture(page):
    if page.name in {held for _, _, held, _ in build.SURVEY} - {"lora.md", "tasks.md"}:
        assert re.search(r"^!\[[^]]+\]\(pictures/\w+\.svg\)$", page.read_text("utf-8"), re.MULTILINE)
