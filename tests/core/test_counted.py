"""One thing, several things."""

from __future__ import annotations

import pytest

from consort.core.counted import counted


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [(0, ("row",), "0 rows"), (1, ("row",), "1 row"), (2, ("entry", "entries"), "2 entries"), (1, ("x", "xs"), "1 x")],
)
def test_one_is_not_many(number, words, said):
    assert counted(number, *words) == said
