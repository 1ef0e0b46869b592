"""What a merge needs is what `release/check.py` installs for it, and the papers of a release are there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from importlib import metadata
from consort.cli.border import run
code = run(["merge", "merge.yml", "out"])
known = metadata.packages_distributions()
print(*sorted({d.lower() for name in sys.modules for d in known.get(name, ())}), sep="\\n")
sys.exit(code)
"""


def check() -> Any:
    spec = importlib.util.spec_from_file_location("check", ROOT / "release" / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_merge_imports_these_alone(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "release"))
    try:
        from licences import canonical, requirements
    finally:
        sys.path.pop(0)
    from importlib import metadata

    (tmp_path / "merge.yml").write_text(check().MERGE)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, check=True)
    imported = {canonical(line) for line in done.stdout.splitlines() if "/" not in line} - {"consort"}
    named = {canonical(re.split(r"[<>=]", need)[0]) for need in check().MERGE_NEEDS}
    brought, left = set(named), list(named)
    while left:
        for name, _ in requirements(metadata.distribution(left.pop()), ""):
            if name not in brought and any(True for _ in metadata.distributions(name=name)):
                brought.add(name)
                left.append(name)
    assert named <= imported, named - imported
    assert imported - brought - {"tqdm", "pytest", "pytest-cov"} == set()


def test_the_papers_of_a_release_are_there() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["license"] == "Apache-2.0"
    assert {"message", "title", "type", "authors"} <= set(citation)
    security = (ROOT / "SECURITY.md").read_text("utf-8")
    for heading in ("## What is promised", "## Reporting", "## Supported versions"):
        assert heading in security
    systems = (ROOT / "docs" / "systems.md").read_text("utf-8")
    assert all(word in systems for word in ("Linux", "macOS", "Windows", "Python 3.11"))
    assert "deprecat" in (ROOT / "docs" / "deprecation.md").read_text("utf-8").lower()
