"""Documents that can rot are generated, and compared here; snippets and examples are run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from consort.core.catalogue import registries
from docs import build

ROOT = Path(__file__).parents[2]
SNIPPETS = [
    (page.name, block)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", build.PAGES)
def test_generated_pages_are_current(name):
    assert (ROOT / "docs" / name).read_text("utf-8") == build.PAGES[name](), "run `make docs`"


def test_no_page_is_left_of_what_is_generated_no_more():
    found = {f"{folder}/{file.name}" for folder in ("api", "notebooks") for file in (ROOT / "docs" / folder).iterdir()}
    assert found == {name for name in build.PAGES if "/" in name}


def test_every_kind_and_no_empty_family_is_on_the_map():
    held = [kind for *_, kinds in build.SURVEY for kind in kinds]
    assert sorted(held) == sorted(registry.kind for registry in registries())
    assert all((ROOT / "docs" / page).is_file() for _, _, page, _ in build.SURVEY)


def test_every_method_on_the_map_has_its_entry():
    links = re.findall(r"\]\((api/\w+\.md)#([\w-]+)\)", build.PAGES["map.md"]())
    assert len(links) == sum(len(registry) for registry in registries())
    for page, anchor in links:
        assert f'<a id="{anchor}"></a>' in (ROOT / "docs" / page).read_text("utf-8")


@pytest.mark.parametrize(("page", "block"), SNIPPETS, ids=[f"{p}-{i}" for i, (p, _) in enumerate(SNIPPETS)])
def test_snippets_run(page, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_examples_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
