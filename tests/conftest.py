"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; see LOG.md

ROOT = Path(__file__).parents[1]

settings.register_profile("no wall times", deadline=None)
settings.load_profile("no wall times")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models, tokenizers and data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("CONSORT_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("no shared data: set CONSORT_SHARED or put the folder `shared` beside the repository")
    return folder
