"""What an answer says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter, UnknownName
from consort.ensemble.after.vote import Vote
from consort.ensemble.answers.reading import codes, reading_of_metric
from consort.ensemble.readings import readings
from consort.ensemble.readings.numeric import Numeric
from consort.models import FakeModel
from consort.plan import parse
from consort.plan.expression import dump


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
    assert readings.get(name)()(text) == wanted


@given(st.integers(-(10**9), 10**9))
def test_numbers_are_written_in_one_way(number: int) -> None:
    texts = (f"{number}", f"it is {number}.0", f"= {number:,}")
    assert {Numeric()(text) for text in texts} == {str(number)}


def test_codes_name_equal_answers() -> None:
    assert codes(["b", None, "a", "b"]) == [0, -1, 1, 0]


def test_readings_go_with_metrics() -> None:
    assert [reading_of_metric(m) for m in ("numeric", "choice", "exact_match", "contains")] == [
        "numeric", "choice", "exact", "exact",
    ]  # fmt: skip


def test_readings_have_arguments_of_their_own() -> None:
    assert readings.get("numeric")(decimals=2)("it is 3.14159") == "3.14"
    assert readings.get("choice")(options=3)("the answer is D") is None
    assert readings.get("pattern")("#### (.*)")("18 + 2\n#### 20 ") == "20"
    assert readings.get("pattern")("#### (.*)")("20") is None
    with pytest.raises(BadParameter, match="no regular expression"):
        readings.get("pattern")("(")


def test_a_strategy_takes_a_reading_by_name_with_arguments_or_as_an_object() -> None:
    models = [FakeModel(lambda _, text=text: text, name=text) for text in ("7", "3.141", "3.142")]
    for answer in ({"numeric": {"decimals": 2}}, Numeric(decimals=2)):
        assert Vote(models, answer=answer).generate(["?"])[0].text == "3.141"
    assert Vote(models, answer="numeric").generate(["?"])[0].text == "7"
    with pytest.raises(UnknownName, match="numbr"):
        Vote(models, answer="numbr")


def test_plans_write_a_reading_as_a_name_or_with_arguments() -> None:
    plan = parse({"vote": {"models": ["a", "b"], "answer": "numeric"}})
    assert dump(plan) == {"vote": {"models": ["a", "b"], "answer": {"numeric": {}}}}
    plan = {"vote": {"models": ["a", "b"], "answer": {"numeric": {"decimals": 2}}}}
    assert dump(parse(plan)) == plan
