"""Plug-ins are found without importing them; what is wrong with one is said by its distribution."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIDENCE = '''
from consort.ensemble.confidences import confidence

@confidence()
class {name}:
    """Always sure."""

    def __call__(self, answer):
        return 1.0
'''


@pytest.fixture
def install(tmp_path):
    """Lays files and their entry points down as an installer does."""

    def add(distribution, files, points):
        for file, text in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[consort.confidence]\n" + "".join(f"{p} = {p}\n" for p in points))

    return add


@pytest.fixture
def methods(tmp_path):
    def run(*arguments):
        source = Path(__file__).parents[2] / "src"
        path = os.pathsep.join(filter(None, [str(tmp_path), str(source), os.environ.get("PYTHONPATH", "")]))
        command = [sys.executable, "-m", "consort", "methods", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})

    return run


def names(shown):
    return {row["name"]: row["from"] for row in json.loads(shown.stdout)}


def test_a_package_needs_no_init(install, methods):
    install("sure-consort", {"deep/inside/sure.py": CONFIDENCE.format(name="Sure")}, ["deep.inside.sure"])
    shown = methods("--kind", "confidence", "--json")
    assert names(shown)["sure"] == "sure-consort" and shown.stderr == ""


def test_one_that_cannot_be_imported_is_one_warning_and_all_else_works(install, methods):
    broken = "import no_such_module_anywhere\n" + CONFIDENCE.format(name="Broken")
    files = {"sure/a.py": CONFIDENCE.format(name="Sure"), "sure/b.py": broken, "sure/c.py": "def ((:\n"}
    install("half-consort", files, ["sure.a", "sure.b", "sure.c", "sure.gone"])
    shown = methods("--json")
    assert shown.returncode == 0 and names(shown)["sure"] == "half-consort" and "broken" not in names(shown)
    [line] = shown.stderr.splitlines()
    assert line.startswith("warning: the plug-in half-consort is left out in part: ")
    assert all(module in line for module in ("sure.b", "sure.c", "sure.gone"))


@pytest.mark.parametrize("other", ["Quantile", "Sure"])
def test_a_taken_name_is_refused_with_both_homes(install, methods, other):
    install("first-consort", {"one/a.py": CONFIDENCE.format(name="Sure")}, ["one.a"])
    install("second-consort", {"two/b.py": CONFIDENCE.format(name=other)}, ["two.b"])
    shown = methods("--kind", "confidence")
    assert shown.returncode == 2 and shown.stdout == ""
    error, hint = shown.stderr.splitlines()
    assert "two.b of second-consort" in error and "uninstall" in hint
    assert ("consort.ensemble.confidences.quantile" if other == "Quantile" else "one.a of first-consort") in error


def test_a_definition_of_another_kind_is_named(install, methods, tmp_path):
    text = CONFIDENCE.replace("confidences import confidence", "readings import reading as confidence")
    install("odd-consort", {"odd/a.py": text.format(name="Odd")}, ["odd.a"])
    code = "from consort.ensemble.confidences import confidences; confidences.get('odd')"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert "odd.a of odd-consort makes it no confidence" in shown.stderr
