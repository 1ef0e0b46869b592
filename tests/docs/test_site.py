"""The site of the pages is built without a warning and loads nothing from elsewhere. Needs the extra `docs`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("zensical", reason="zensical is not installed (extra docs)")
ROOT = Path(__file__).parents[2]
FROM_ELSEWHERE = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\"' >]*")


def test_the_site_is_complete_and_loads_nothing_from_elsewhere():
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build" / "site"
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))
    assert not [found for page in pages for found in FROM_ELSEWHERE.findall(page.read_text("utf-8"))]
    assert not list(site.rglob("*.py")) and not list(site.rglob("*.ipynb"))
    styles = "".join(style.read_text("utf-8") for style in site.rglob("*.css"))
    assert not re.search(r"url\([\"']?(?:https?:)?//|@import", styles)
