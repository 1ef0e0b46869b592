"""Every architecture generates and scores as transformers does, and reads each token once."""

from __future__ import annotations

import pytest

from tests.compatibility import generation, page
from tests.compatibility.architectures import ARCHITECTURES, offered

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers about itself

NO_CACHE = {"openai-gpt"}
"""Architectures for which transformers, too, keeps nothing."""


def newest() -> bool:
    import transformers

    return f"with transformers {transformers.__version__}." in page.PAGE.read_text("utf-8")


def test_there_are_enough() -> None:
    assert len(ARCHITECTURES) >= 45
    assert len({one.group for one in ARCHITECTURES.values()}) >= 9


@pytest.mark.parametrize("name", offered())
def test_generate_and_score_are_those_of_transformers(name: str) -> None:
    found = generation.cells(name)
    assert (found.generates, found.scores) == (True, True)
    if found.cached:
        assert (found.fed, found.warning) == (found.wanted, "") or "switch" in found.stock
    else:
        assert f"{name} (" in found.warning
        assert "read again for each new token" in found.warning
        assert found.warning.count("read again") == 1
        assert name in NO_CACHE or not newest()


def test_the_page_is_what_is_found() -> None:
    if not newest():
        pytest.skip("the page is of another version of transformers")
    assert page.PAGE.read_text("utf-8") == page.page()
