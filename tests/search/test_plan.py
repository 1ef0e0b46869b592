"""Searches as plans: what is read, what is refused, and what a point says as a plan."""

from __future__ import annotations

import pytest

from consort.core.errors import ConsortError
from consort.plan import parse
from consort.plan.search.plan import read_search
from consort.search.marks import Free, filled


def plan(space, optimizer="pso", **more):
    return {"search": {"optimizer": optimizer, "space": space, **more}}


LINEAR = {"linear": {"models": ["a", "b"], "weight": {"free": [0, 1]}}}


def test_free_weights_of_a_linear_merge_are_a_combination_of_experts():
    found = read_search(plan(LINEAR))
    assert found.space == "weights" and found.domain.starts == ((1, 0), (0, 1)) and not found.domain.hard
    assert found.expression((0.25, 0.75)) == {
        "linear": {"models": ["a", "b"], "weight": [0.25, 0.75], "normalize": False}
    }
    parse(found.expression((0.25, 0.75)))


def test_a_base_comes_before_the_experts_and_widens_the_start():
    pso = {"pso": {"populate": {"extra": True, "range": "code"}, "repel": False}}
    found = read_search(plan(LINEAR, pso, base="o"))
    assert found.params == {"populate_range": "code", "repel": 0.0}
    assert found.domain.names == ("o", "a", "b")
    assert [tuple(round(x, 9) for x in s) for s in found.domain.starts[2:]] == [
        (0.4, 0.3, 0.3),
        (-0.2, 0.6, 0.6),
        (-1, 1, 1),
    ]
    assert found.expression((0.5, 0.25, 0.25))["linear"]["models"] == ["o", "a", "b"]


def test_sparsified_experts_double_the_basis():
    found = read_search(plan(LINEAR, {"pso": {"populate": "sparsified"}}, base="o"))
    assert found.domain.dim == 5 and len(found.domain.starts) == 5
    models = found.expression((0, 0, 0, 1, 0))["linear"]["models"]
    assert models[3] == {"dare_linear": {"models": ["a"], "base": "o", "density": 0.2}}


def test_any_number_of_any_expression_can_be_free():
    ties = {"ties": {"models": ["a", "b"], "base": "o", "density": {"free": [0.1, 1]}, "lambda": {"free": [0.5, 2]}}}
    found = read_search(plan(ties, "random"))
    assert found.domain.low == [0.1, 0.1, 0.5] and found.domain.hard and not found.domain.starts
    assert found.expression((0.5, 0.6, 0.7))["ties"]["density"] == [0.5, 0.6]
    one = read_search(plan({"task_arithmetic": {"models": ["a", "b"], "base": "o", "weight": {"free": [0, 1]}}}))
    assert one.domain.starts == ((1, 0), (0, 1)) and one.domain.hard and set(one.units) == {"a", "b"}
    weight = [1, {"free": [0, 1]}, {"free": [0, 1]}]
    some = read_search(plan({"task_arithmetic": {"models": ["a", "b", "c"], "base": "o", "weight": weight}}))
    assert some.domain.starts == () and not some.units


def test_strategies_are_searched_as_models():
    found = read_search(plan({"average": {"models": ["a", "b"], "weight": [1, {"free": [0, 1]}]}}))
    assert found.space == "models" and found.domain.dim == 1
    assert read_search(plan({"token_swarm": {"models": ["a", "b"], "weight": {"free": [-1, 1]}}})).experts == ("a", "b")


def test_marks_are_filled_in_order():
    template = {"x": [Free("x", 0, 1), 5], "y": Free("y", 0, 1)}
    assert filled(template, (0.1, 0.2)) == {"x": [0.1, 5], "y": 0.2}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"search": 3}, "not a mapping"),
        (plan(LINEAR) | {"plan": "a"}, "unknown key 'plan'"),
        ({"search": {"space": LINEAR}}, "no optimizer"),
        ({"search": {"optimizer": "pso"}}, "no space"),
        (plan(LINEAR, "psi"), "psi"),
        (plan(LINEAR, {"pso": {"particels": 3}}), "particels"),
        (plan(LINEAR, {"pso": {"particles": 0}}), "outside"),
        (plan(LINEAR, {"pso": [1]}), "named arguments"),
        (plan(LINEAR, {"pso": {"populate": {"extra": True}}}), "base"),
        (plan(LINEAR, [1]), "no optimizer"),
        (plan("a"), "not an expression"),
        (plan({"linear": {"models": ["a", "b"]}}), "no free coordinate"),
        (plan({"linear": {"models": ["a", "b"], "weight": {"free": [1, 0]}}}), "is empty"),
        (plan({"linear": {"models": ["a", "b"], "weight": {"free": "x"}}}), "no interval"),
        (plan({"liner": {"models": ["a", "b"], "weight": {"free": [0, 1]}}}), "liner"),
        (plan({"ties": {"models": ["a"], "base": "o", "density": {"free": [0, 2]}}}, base="o"), "combinations"),
    ],
)
def test_wrong_searches_are_refused_by_name(document, says):
    with pytest.raises(ConsortError, match=says) as caught:
        read_search(document)
    assert caught.value.field and caught.value.hint


def test_reading_a_search_imports_no_torch(tmp_path):
    import subprocess
    import sys

    code = "import sys; from consort.plan.search import plan; plan.read_search(%r); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code % plan(LINEAR)], check=True)
