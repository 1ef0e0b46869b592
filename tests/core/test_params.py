"""Parameters read from signatures, checked against what a plan gives."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from math import inf
from typing import Annotated, Literal

import pytest

from consort.core.errors import BadParameter
from consort.core.params import PerModel, Range, bind, check, params_in, params_of, read_annotation


def ties(
    deltas: object,
    *,
    weight: PerModel[float] = 1.0,
    density: Annotated[PerModel[float], Range(0, 1)] = 0.2,
    elect: Literal["weighted", "count"] = "weighted",
    scale: Annotated[float, Range(-inf, inf)] = 1.0,
    lambda_: float = 1.0,
    steps: Annotated[int, Range(1, 9)] | None = None,
    layers: Sequence[int] = (1,),
    exact: bool = True,
) -> None: ...


PARAMS = params_of(ties)


def test_source_and_live_signature_agree():
    import inspect

    node = ast.parse(inspect.getsource(ties)).body[0]
    assert isinstance(node, ast.FunctionDef)
    assert params_in(node) == PARAMS
    assert params_in(node, positional=True)[0].name == "deltas"


def test_values_are_bound_broadcast_and_converted():
    bound = bind("ties", PARAMS, {"density": 1e-1, "lambda": 2, "layers": [3, 4]}, models=2)
    assert bound["density"] == (0.1, 0.1) and bound["weight"] == (1.0, 1.0)
    assert bound["lambda_"] == 2.0 and bound["layers"] == (3, 4) and bound["steps"] is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"densty": 0.1}, "did you mean 'density'"),
        ({"density": "1e-1"}, "'1e-1' is not float"),
        ({"density": 1.5}, r"\[0, 1\]"),
        ({"density": [0.1, 0.2, 0.3]}, "3 values for 2 models"),
        ({"density": True}, "number"),
        ({"weight": float("nan")}, "number"),
        ({"elect": "best"}, "weighted"),
        ({"steps": 1.5}, "whole number"),
        ({"exact": 1}, "true or false"),
        ({"layers": 3}, "list"),
    ],
)
def test_bad_values_are_named(given, says):
    import re

    with pytest.raises(BadParameter) as error:
        bind("ties", PARAMS, given, models=2)
    assert error.value.field == next(iter(given))
    assert re.search(says, f"{error.value} {error.value.hint}")


def test_a_parameter_without_default_is_required():
    def slerp(*, t: Annotated[float, Range(0, 1)]) -> None: ...

    with pytest.raises(BadParameter, match="needs t"):
        bind("slerp", params_of(slerp), {})


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), "inf", 10**400])
def test_numbers_are_finite_even_where_the_range_is_not(value):
    for annotation in ("float", "Annotated[float, Range(0, inf)]"):
        with pytest.raises(BadParameter, match="is not") as caught:
            check(read_annotation("weight", annotation), value)
        assert "finite" in caught.value.hint
