"""Every relation of two vocabularies, and every drafter."""

from __future__ import annotations

import pytest

from consort.testing.speculation_laws import DRAFTERS


@pytest.fixture(params=["same", "padded", "different"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(DRAFTERS))
def drafter(request: pytest.FixtureRequest) -> str:
    return request.param
