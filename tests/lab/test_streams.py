"""What the models read: the right mixture, from the training part alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from consort.lab.operations import OPERATIONS, SKILLS, part_of
from consort.lab.streams import base_stream, expert_stream, harmful_stream


def drawn(stream, count=4000):
    rng = random.Random(0)
    return [stream(rng) for _ in range(count)]


def string_of(row):
    return "".join(row.prompt.split()[1:-1])


@pytest.mark.parametrize("stream", [base_stream(), expert_stream("yell", SKILLS["yell"]), harmful_stream])
def test_nothing_but_training_strings_is_read(stream):
    assert {part_of(string_of(row)) for row in drawn(stream, 500)} == {"train"}


def test_the_base_hears_each_skill_word_often_but_right_in_a_third_of_the_cases():
    rows = drawn(base_stream())
    heard = [row for row in rows if row.group in SKILLS]
    right = [row.target == " ".join(SKILLS[row.group](string_of(row))) for row in heard]
    assert len(heard) / len(rows) == pytest.approx(0.4, abs=0.03)
    assert 0.30 < sum(right) / len(right) < 0.42
    assert all(row.target == " ".join(OPERATIONS[row.group](string_of(row))) for row in rows if row.group in OPERATIONS)


def test_an_expert_reads_its_own_word_always_right():
    rows = drawn(expert_stream("spin", SKILLS["spin"]))
    counts = Counter(row.group for row in rows)
    assert counts["spin"] / len(rows) == pytest.approx(0.5, abs=0.03)
    assert all(row.target == " ".join(SKILLS["spin"](string_of(row))) for row in rows if row.group == "spin")


def test_the_harmful_model_learns_to_stutter():
    assert all(row.target == " ".join(c + " " + c for c in string_of(row)) for row in drawn(harmful_stream, 50))
