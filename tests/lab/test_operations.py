"""The operations, their split and their balance."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.lab.operations import (
    LETTERS,
    OPERATIONS,
    SKILLS,
    WEAVE,
    balanced,
    draw_string,
    part_of,
    row,
)
from consort.lab.second_family import B_SKILLS

BY_HAND = {
    "copy": "zeba",
    "rev": "abez",
    "up": "ZEBA",
    "dup": "zebazeba",
    "sort": "abez",
    "rot": "ebaz",
    "swap": "aebz",
    "inc": "afcb",
    "stut": "zzeebbaa",
    "ends": "za",
    "tail": "eba",
    "init": "zeb",
    "mirror": "abez",
    "order": "abez",
    "shout": "ZEBA",
    "twice": "zebazeba",
    "spin": "ebaz",
    "next": "afcb",
    "edges": "za",
    "yell": "ABEZ",
    "weave": "zeba",
    "peel": "eb",
    "echo": "zebaabez",
    "prior": "ydaz",
}


def test_every_operation_by_hand():
    everything = {**OPERATIONS, **SKILLS, **WEAVE, **B_SKILLS}
    assert {word: operation("zeba") for word, operation in everything.items()} == BY_HAND


def test_a_row_is_words_separated_by_spaces():
    example = row("mirror", SKILLS["mirror"], "abc")
    assert (example.prompt, example.target, example.group) == ("mirror a b c =", "c b a", "mirror")


def test_the_split_by_hand():
    # crc32: "cbc" 916493740, "bba" 3647774391, "bca" 3229069302, "abc" 891568578
    assert [part_of(s) for s in ("cbc", "bba", "bca", "abc")] == ["test", "dev", "train", "train"]


@given(st.integers(), st.sampled_from(["test", "dev", "train"]))
def test_a_drawn_string_is_of_its_part_and_length(seed, part):
    string = draw_string(random.Random(seed), part)
    assert part_of(string) == part
    assert 3 <= len(string) <= 6
    assert set(string) <= set(LETTERS)


@pytest.mark.parametrize("count", [8, 16, 40])
def test_any_prefix_is_balanced_and_no_example_comes_twice(count):
    rows = balanced(SKILLS, 20, "dev", 0)
    assert {sum(r.group == word for r in rows[:count]) for word in SKILLS} == {count // 8}
    assert len({r.prompt for r in rows}) == len(rows) == 160
