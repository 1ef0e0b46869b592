"""Programs of one and two words: what they give, what no model reads, and that a seed fixes the data."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from consort.lab.operations import part_of
from consort.lab.programs import (
    BINDING,
    KNOWN,
    SKILLS,
    VOCABULARY,
    composing_stream,
    composites,
    is_held,
    program,
    singles,
    skill_stream,
    unread_pairs,
    uses_unread_pair,
)


@pytest.mark.parametrize(
    ("words", "letters", "prompt", "target"),
    [
        (["mirror"], "abc", "mirror a b c =", "c b a"),
        (["mirror", "shout"], "abc", "mirror shout a b c =", "c b a ; C B A"),
        (["shout", "spin"], "abcd", "shout spin a b c d =", "A B C D ; B C D A"),
        (["shout", "next"], "xyz", "shout next x y z =", "X Y Z ; Y Z A"),
    ],
)
def test_a_program_prints_every_step(words, letters, prompt, target):
    found = program([(word, SKILLS[word]) for word in words], letters)
    assert (found.prompt, found.target, found.group) == (prompt, target, "/".join(words))


@pytest.mark.parametrize(
    ("word", "given", "wanted"),
    [
        ("rotr", "abc", "cab"),
        ("alt", "abcd", "aBcD"),
        ("capf", "abc", "Abc"),
        ("dec", "aBA", "zAZ"),
        ("inc", "zZ", "aA"),
    ],
)
def test_operations_of_this_family_alone(word, given, wanted):
    assert KNOWN[word](given) == wanted


def rows_of(stream, count=3000):
    return [stream(random.Random(f"0:{i}")) for i in range(count)]


def words_of(row):
    return row.group.split("/")


@pytest.mark.parametrize("stream", [composing_stream(), *(skill_stream(word) for word in SKILLS)])
def test_nobody_reads_two_skills_at_once_or_a_held_pair(stream):
    for row in rows_of(stream):
        words = words_of(row)
        assert sum(word in SKILLS for word in words) <= 1
        assert len(words) == 1 or not (set(words) <= set(KNOWN) and is_held(*words))
        letters = "".join(row.prompt.split()[len(words) : -1])
        assert part_of(letters) == "train" and len(letters) in (3, 4)


def test_shares_of_what_the_base_reads():
    kinds = Counter(
        (len(words), sum(word in SKILLS for word in words)) for words in map(words_of, rows_of(composing_stream()))
    )
    shares = {kind: count / 3000 for kind, count in kinds.items()}
    assert shares == pytest.approx({(1, 0): 0.25, (1, 1): 0.15, (2, 0): 0.35, (2, 1): 0.25}, abs=0.03)


def test_an_expert_reads_its_own_skill_rightly_half_of_the_time_and_no_hearsay_of_it():
    rows = [row for row in rows_of(skill_stream("trade")) if "trade" in words_of(row)]
    assert len(rows) / 3000 == pytest.approx(0.5, abs=0.03)
    for row in rows:
        words = words_of(row)
        steps = [(word, {**KNOWN, **SKILLS}[word]) for word in words]
        assert row == program(steps, "".join(row.prompt.split()[len(words) : -1]))


def test_test_rows_are_balanced_distinct_and_fixed_by_the_seed():
    rows = composites(20, "test", 1)
    assert len(rows) == 600 == len({row.prompt for row in rows})
    assert set(Counter(row.group for row in rows).values()) == {20}
    assert len({row.group for row in rows[:30]}) == 30
    assert rows == composites(20, "test", 1) != composites(20, "test", 2)
    assert Counter(row.group for row in singles(100, "test", 0)) == dict.fromkeys(SKILLS, 100)


def test_pairs_that_the_base_never_reads():
    assert all(is_held(*words_of(row)) for row in unread_pairs(1, "test", 0))
    assert BINDING["mirror"] == "rev" and BINDING["shout"] == "up"
    assert uses_unread_pair("mirror/shout") == is_held("rev", "up")
    assert 0.1 < sum(is_held(a, b) for a in KNOWN for b in KNOWN) / len(KNOWN) ** 2 < 0.4


def test_every_word_of_every_row_is_one_token():
    for row in [*rows_of(composing_stream(), 300), *composites(1, "test", 0)]:
        assert set(f"{row.prompt} {row.target}".split()) <= set(VOCABULARY)
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 78
