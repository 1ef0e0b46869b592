"""How far two sequences are alike."""

from __future__ import annotations

from consort.core.prefix import shared_prefix


def test_how_many_items_two_sequences_begin_with_alike() -> None:
    pairs = [([1, 2, 3], [1, 2, 4]), ([1, 2], (1, 2, 3)), ([], [1]), ("ab", "b")]
    assert [shared_prefix(a, b) for a, b in pairs] == [2, 2, 0, 0]
