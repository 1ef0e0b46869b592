"""Laws of readings: what of an answer is compared is a text that says something, or None."""

from __future__ import annotations

from typing import Any

from consort.ensemble.readings import readings
from consort.testing.law import Law
from consort.testing.planned import planned

KINDS = ("reading",)
STATEMENTS = ("SELECT a FROM t", "SELECT count(*) FROM t")
TEXTS = (
    "",
    "  ",
    "it is 7",
    "The answer is (B).",
    "4",
    "so $1,234.50.",
    "no\nidea",
    "#### 12",
    "\U0001f9ed",
    *STATEMENTS,
)


def reading_of(name: str) -> Any:
    """The reading, as a plan makes it."""
    return planned(readings, name)


def readings_say_something(name: str) -> None:
    """Of any text it is a text that is not empty, or None; of an empty one it is None, of some text it is not."""
    found = {text: reading_of(name)(text) for text in TEXTS}
    assert all(value is None or (isinstance(value, str) and value) for value in found.values()), f"{found}"
    assert found[""] is None and found["  "] is None, f"of no text it reads {found['']!r}"
    assert any(value is not None for value in found.values()), "it reads nothing"


def readings_are_a_matter_of_the_text(name: str) -> None:
    """Asked again, and after other texts, it reads the same."""
    read = reading_of(name)
    assert [read(text) for text in TEXTS] == [read(text) for text in reversed(TEXTS)][::-1]


def a_vote_counts_by_them(name: str) -> None:
    """In a plan `vote: {answer: NAME}` two that answer alike outvote a third."""
    from consort.ensemble.after import after
    from consort.testing.answer_laws import Said

    read = reading_of(name)
    texts = [text for text in TEXTS if read(text) is not None]
    other = next((text for text in texts if read(text) != read(texts[0])), "no idea")
    voters = [Said("a", other), Said("b", texts[0]), Said("c", texts[0])]
    assert after.get("vote")(voters, answer=read).generate(["ab"])[0].text == texts[0]


LAWS: tuple[Law, ...] = (readings_say_something, readings_are_a_matter_of_the_text, a_vote_counts_by_them)
