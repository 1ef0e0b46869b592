"""Documents that can rot are generated, and compared here; snippets and examples are run."""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path

import pytest

from consort.core.catalogue import registries

ROOT = Path(__file__).parents[2]
SNIPPETS = [
    (page.name, block)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def built():
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["methods.md", "cli.md", "map.md"])
def test_generated_pages_are_current(name):
    assert (ROOT / "docs" / name).read_text("utf-8") == built().PAGES[name](), "run `make docs`"


def test_every_kind_and_no_empty_family_is_on_the_map():
    module = built()
    held = [kind for *_, kinds in module.SURVEY for kind in kinds]
    assert sorted(held) == sorted(registry.kind for registry in registries())
    assert all((ROOT / "docs" / page).is_file() for _, _, page, _ in module.SURVEY)


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
