"""Gradients and rules by name."""

from __future__ import annotations

import pytest

from consort.core.errors import BadParameter
from consort.core.params import Param, Range, bind
from consort.core.schedule import UNMATCHED, Gradient, plain, read_schedule, texts, value_at

DENSITY = Param("density", "float", default=0.2, range=Range(0, 1))


def test_a_gradient_is_linear_between_its_values():
    gradient = Gradient((0.0, 0.3, 1.0))
    assert [gradient.at("", t / 3) for t in range(4)] == pytest.approx([0, 0.2, 0.533333333, 1])
    assert (gradient.at("", None), Gradient((0.0, 1.0), head=0).at("", None)) == (1, 0)
    assert Gradient((0.5,)).at("", 0.7) == 0.5


def test_truth_values_change_in_steps():
    assert [Gradient((True, False)).at("", t / 3) for t in range(4)] == [True, True, True, False]
    assert Gradient(("weighted", "count")).at("", 0.99) == "weighted"


def test_the_first_rule_that_matches_decides():
    rules = [{"match": "mlp", "value": {"by_layer": [0, 1]}}, {"match": "*", "value": 0.5}]
    schedule = read_schedule({"by_name": rules}, float)
    assert value_at(schedule, "layers.0.mlp.up", 0.25) == 0.25
    assert value_at(schedule, "norm", None) == 0.5
    assert texts(schedule) == ["mlp"]
    assert value_at(read_schedule({"by_name": rules[:1]}, float), "norm", None) is UNMATCHED
    assert value_at(3, "norm", None) == 3


def test_what_is_read_is_written_again():
    written = {"by_name": [{"match": "mlp", "value": {"by_layer": [0.0, 1.0], "head": 0}}, {"value": 0.5}]}
    assert plain(read_schedule(written, float)) == written
    assert plain((Gradient((0.0, 1.0)), 2)) == [{"by_layer": [0.0, 1.0]}, 2]


def test_every_value_is_checked_where_schedules_are_allowed():
    bound = bind("m", [DENSITY], {"density": {"by_layer": [0, 1e-1]}}, schedules=True)
    assert bound == {"density": Gradient((0.0, 0.1))}
    with pytest.raises(BadParameter, match="density"):
        bind("m", [DENSITY], {"density": {"by_layer": [0, 1]}})


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"by_layer": [0, 1.5]}, "density.by_layer[1]"),
        ({"by_layer": []}, "density.by_layer"),
        ({"by_layer": 3}, "density.by_layer"),
        ({"by_layer": [0], "head": 2}, "density.head"),
        ({"by_layr": [0]}, "density.by_layr"),
        ({"by_layer": [0], "by_name": []}, "density.by_layer"),
        ({"by_name": [{"match": "mlp"}]}, "density.by_name[0]"),
        ({"by_name": [{"match": "mlp", "value": 2}]}, "density.by_name[0].value"),
        ({"by_name": [{"mach": "mlp", "value": 1}]}, "density.by_name[0].mach"),
        ({"by_name": [{"value": {"by_layer": [7]}}]}, "density.by_name[0].by_layer[0]"),
        ({"by_name": {}}, "density.by_name"),
        ({}, "density.by_name"),
    ],
)
def test_faults_say_where(value, field):
    with pytest.raises(BadParameter) as fault:
        bind("m", [DENSITY], {"density": value}, schedules=True)
    assert fault.value.field == field
    assert fault.value.hint


def test_all_faults_are_found_at_once():
    with pytest.raises(BadParameter) as fault:
        bind("m", [DENSITY], {"densty": 1, "density": 2})
    assert [f.field for f in fault.value.faults] == ["densty", "density"]
    assert "2 faults: densty" in str(fault.value) and "did you mean 'density'" in fault.value.hint
