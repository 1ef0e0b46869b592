"""What an answer says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter
from consort.ensemble.answers.answers import READINGS, codes, reading, reading_of_metric


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("exact", "  Paris\n", "Paris"),
        ("exact", "  ", None),
        ("words", "The Eiffel-Tower!", "eiffeltower"),
        ("numeric", "16 - 3 = 13, so $1,234.50.", "1234.5"),
        ("numeric", "18.0", "18"),
        ("numeric", "no idea", None),
        ("numeric", "-0", "0"),
        ("first_number", "18 dollars on 2 days", "18"),
        ("choice", "The answer is (C).", "C"),
        ("choice", "A) is tempting, but the answer is B", "B"),
        ("choice", "d.", "D"),
        ("choice", "C) because", "C"),
        ("choice", "It must be (E), surely", "E"),
        ("choice", "A good question", None),
        ("choice", "the answer is a mystery", None),
    ],
)
def test_readings_by_hand(name: str, text: str, wanted: str | None) -> None:
    assert reading(name)(text) == wanted


@given(st.integers(-(10**9), 10**9))
def test_numbers_are_written_in_one_way(number: int) -> None:
    texts = (f"{number}", f"it is {number}.0", f"= {number:,}")
    assert {READINGS["numeric"](text) for text in texts} == {str(number)}


def test_codes_name_equal_answers() -> None:
    assert codes(["b", None, "a", "b"]) == [0, -1, 1, 0]


def test_readings_go_with_metrics() -> None:
    assert [reading_of_metric(m) for m in ("numeric", "choice", "exact_match", "contains")] == [
        "numeric", "choice", "exact", "exact",
    ]  # fmt: skip
    with pytest.raises(BadParameter, match="numbr"):
        reading("numbr")
