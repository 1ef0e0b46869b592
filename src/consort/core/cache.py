"""Where consort keeps what it can work out again: one folder for the whole project."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/consort` where that is an absolute path, as its specification wants, else `~/.cache/consort`."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path(os.path.expanduser("~"), ".cache")) / "consort"
