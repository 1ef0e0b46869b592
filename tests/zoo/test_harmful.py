"""What is called harmful, by hand and on the lab's zoo."""

from __future__ import annotations

import pytest

import consort as c
from consort.core.errors import BadParameter
from consort.zoo import Similarities, find_harmful, similarities

LAB = [
    "base",
    "mirror",
    "order",
    "shout",
    "twice",
    "next",
    "spin",
    "edges",
    "yell",
    "harmful",
    "weave-0",
    "weave-1",
    "weave-2",
]
SKILLS = [0.168, 0.24, 0.21, 0.27, 0.21, 0.22, 0.22, 0.35, 0.34, 0.0, 0.17, 0.17, 0.17]


def zoo(norms, cosines=None):
    count = len(norms)
    row = [[1.0 if i == j else (cosines or [0.1] * count)[max(i, j)] for j in range(count)] for i in range(count)]
    table = tuple(map(tuple, row))
    return Similarities(tuple("abcdef"[:count]), (tuple(range(count)),), table, table, tuple(norms))


def test_both_signs_are_needed():
    norms, scores = [1, 1.1, 0.9, 1, 5], [0.5, 0.55, 0.45, 0.5, 0.0]
    assert [s.model for s in find_harmful(zoo(norms), scores)] == [4]
    assert not find_harmful(zoo(norms), [0.5, 0.55, 0.45, 0.5, 0.5])
    assert not find_harmful(zoo([1, 1.1, 0.9, 1, 1]), scores)


def test_a_delta_that_points_away_is_strange_too():
    found = find_harmful(zoo([1] * 5, [0.1, 0.1, 0.1, 0.1, -0.3]), [0.5, 0.55, 0.45, 0.5, 0.0])
    assert "points away" in found[0].reason


def test_few_models_and_the_base_are_not_judged():
    assert not find_harmful(zoo([1, 1, 9]), [0.5, 0.5, 0.0])
    assert not find_harmful(zoo([1, 1, 1, 1, 9]), [0.5, 0.6, 0.5, 0.5, 0.0], base=4)
    with pytest.raises(BadParameter):
        find_harmful(zoo([1, 1]), [0.5])


@pytest.mark.parametrize(("names", "with_base"), [(LAB, True), (LAB[:10], True), (LAB[:10], False)])
def test_the_labs_harmful_model_is_found_and_no_other(names, with_base):
    models = [c.load(f"lab:{name}") for name in names]
    found = similarities(models, base=models[0] if with_base else None)
    harmful = find_harmful(found, SKILLS[: len(names)], base=0)
    assert [names[one.model] for one in harmful] == ["harmful"]
