"""Placeholders: what is taken out is put back, whatever the text looks like."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.cooperate.private.placeholders import Placeholders, escaped
from consort.cooperate.private.recognisers import DEFAULT, RECOGNISERS
from consort.cooperate.private.recognisers.words import Words
from consort.cooperate.private.spans import Span, found, plain, settled

FIND = [*(RECOGNISERS.get(name)() for name in DEFAULT), Words(["Anna Bell", "Ørsted", "x9"])]
PIECES = [
    "<", ">", "<<", "<0>", "<0>0>", "<EMAIL_1>", "<EMAIL_1b>", "<PERSON_12>", "<NAME_1", "_1>", "<A_", "0>", "&lt;",
    "bob@example.com", "BOB@EXAMPLE.COM", "b\u200bob@example.com", "Anna Bell", "anna bell", "A n n a Bell", "ANNABELL",
    "4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32", "+49 30 123456", "192.168.1.77", "::1", "fe80::1",
    "sk-abcdefghijklmnop1234", "https://joe:pw@host/x?token=abc", "11010519491231002X", "\u00d8rsted", "O\u0338rsted",
    "\uff21\uff4e\uff4e\uff41 Bell", "\U0001f600", "\u0301", "\u200b", "\n", " ", "\x00", "\\", '"', "{}", "x9",
]  # fmt: skip


def fuzzed(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.randrange(1, 9)):
        if rng.random() < 0.75:
            parts.append(rng.choice(PIECES))
        else:
            parts.append("".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xD000)])) for _ in range(4)))
    return "".join(parts)


def test_ten_thousand_round_trips() -> None:
    rng = random.Random(0)
    for _ in range(10_000):
        text, marks = fuzzed(rng), Placeholders()
        sent = marks.sanitise(text, found(text, FIND))
        assert marks.restore(sent) == text


@given(st.text(st.sampled_from("<>0_AB1b\u00e9 @.x9"), max_size=40))
def test_texts_of_nothing_but_marks(text: str) -> None:
    marks = Placeholders()
    assert marks.restore(marks.sanitise(text, found(text, FIND))) == text
    assert Placeholders().restore(escaped(text)) == text


@given(st.text(max_size=60), st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_pieces_give_what_the_whole_gives(text: str, sizes: list[int]) -> None:
    marks = Placeholders()
    sent = marks.sanitise(f"{text} bob@example.com <B_1> {text}", found(f"{text} bob@example.com <B_1> {text}", FIND))
    pieces, at = [], 0
    while at < len(sent):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(sent[at : at + size])
        at += size
    assert "".join(marks.restored(pieces)) == marks.restore(sent)


def test_every_split_of_a_placeholder_over_two_chunks() -> None:
    marks = Placeholders()
    for i in range(12):
        marks.of("PERSON", f"name {i}")
    mark = marks.of("PERSON", "name 11")
    assert mark == "<PERSON_12>"
    for at in range(len(mark) + 1):
        pieces = list(marks.restored([f"a {mark[:at]}", f"{mark[at:]} b"]))
        assert "".join(pieces) == "a name 11 b"
    assert list(marks.restored(["x < y", " and <div>"])) == ["x < y", " and <div>"]  # nothing is held for long


def test_one_thing_has_one_number_over_twenty_turns() -> None:
    history: list[str] = []
    for turn in range(20):
        history.append(f"turn {turn}: Anna Bell wrote to bob@example.com" + (" and ANNA BELL" if turn % 3 else ""))
        marks = Placeholders()
        sent = [marks.sanitise(text, found(text, FIND)) for text in history]
        assert all("<NAME_1> wrote to <EMAIL_1>" in text for text in sent)
        assert marks.of("NAME", "Anna Bell") == "<NAME_1>"
        assert turn == 0 or marks.of("NAME", "ANNA BELL") == "<NAME_1b>"
    assert marks.restore("<NAME_1b> and <NAME_1>") == "ANNA BELL and Anna Bell"


def test_unknown_placeholders_stay_and_are_told() -> None:
    marks, unknown = Placeholders(), []
    marks.of("NAME", "<NAME_2>")  # a value is never looked through again
    assert marks.restore("<NAME_1> <NAME_7>", unknown) == "<NAME_2> <NAME_7>"
    assert unknown == ["<NAME_7>"] and "NAME_2" not in repr(marks)


def test_the_longest_place_wins_then_the_surest() -> None:
    spans = [Span(0, 5, "A"), Span(3, 10, "B"), Span(3, 10, "C", 5), Span(12, 14, "D")]
    assert [(s.kind, s.start) for s in settled(spans)] == [("C", 3), ("D", 12)]


@pytest.mark.parametrize("text", ["a\u200bb", "\uff41b", "e\u0301x", "\ufb01n"])
def test_plain_texts_know_where_they_came_from(text: str) -> None:
    seen = plain(text)
    whole = seen.original(Span(0, len(seen.text), "X"))
    assert (whole.start, whole.stop) == (0, len(text))
