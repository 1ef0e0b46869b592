"""A plan is checked without loading anything; what is wrong is named with its path."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import ConsortError
from consort.plan import Call, Reference, dump, parse, read_plan

MERGE = {"ties": {"models": ["a", "b"], "base": "o", "density": 0.3}}
TEAM = {
    "cascade": {"models": ["hf:org/small", {"average": {"models": [MERGE, "d"], "weight": [2, 1]}}], "threshold": 0.6}
}


def test_an_expression_is_read_into_nodes():
    root = parse(TEAM).root
    assert isinstance(root, Call) and (root.kind, root.name, root.produces) == ("answer", "cascade", "model")
    average = root.arguments["models"][1]
    assert average.arguments["models"][0].arguments["base"] == Reference("o")
    assert root.arguments["threshold"] == 0.6


def test_names_under_models_are_expanded():
    document = {"models": {"m": MERGE, "a": "lab:a"}, "seed": 7, "plan": {"average": {"models": ["m", "a"]}}}
    plan = parse(document)
    assert plan.seed == 7
    assert plan.root.arguments["models"][0].arguments["models"][0] == Reference("lab:a")


def test_kind_and_name_may_both_be_written():
    assert parse({"merge.ties": {"models": ["a", "b"], "base": "o"}}) == parse(
        {"ties": {"models": ["a", "b"], "base": "o"}}
    )


@pytest.mark.parametrize("document", [MERGE, TEAM, "lab:base", {"hf": "x", "tokenizer": "bytes"}])
def test_round_trip(document):
    assert parse(dump(parse(document))) == parse(document)


names = st.sampled_from(["a", "b", "lab:base", "hf:org/name"])
numbers = st.floats(0.1, 1, allow_nan=False)


def merges(inner):
    models = st.lists(inner, min_size=2, max_size=3)
    linear = models.flatmap(lambda m: st.fixed_dictionaries({"models": st.just(m)}, optional={"weight": numbers}))
    return st.builds(lambda arguments: {"linear": arguments}, linear)


def averages(inner):
    return st.builds(lambda m: {"average": {"models": m}}, st.lists(inner, min_size=1, max_size=3))


checkpoints = st.recursive(names, merges, max_leaves=6)
models = st.recursive(checkpoints, averages, max_leaves=6)


@given(models)
def test_round_trip_of_any_nesting(document):
    plan = parse(document)
    assert parse(dump(plan)) == plan


@pytest.mark.parametrize(
    ("document", "field", "says"),
    [
        (None, "plan", "empty"),
        ({"tise": {"models": ["a"]}}, "plan.tise", "did you mean 'ties'"),
        ({"ties": {"models": ["a", "b"], "base": "o", "densty": 1}}, "plan.ties.densty", "did you mean 'density'"),
        ({"ties": {"models": ["a", "b"], "base": "o", "density": 1.5}}, "plan.ties.density", "[0, 1]"),
        ({"linear": {"models": ["a", "b"], "weight": [1, 2, 3]}}, "plan.linear.weight", "3 values for 2 models"),
        ({"linear": {"models": "a"}}, "plan.linear.models", "list"),
        ({"linear": {}}, "plan.linear.models", "needs models"),
        ({"linear": ["a"]}, "plan.linear", "named arguments"),
        ({"linear": {"models": ["a", {"cascade": {"models": ["a"]}}]}}, "plan.linear.models[1]", "not a checkpoint"),
        ({"linear": {"models": ["a"]}, "ties": {}}, "plan", "one key"),
        ({"plan": "a", "modles": {}}, "plan.modles", "did you mean 'models'"),
        ({"plan": "a", "seed": -1}, "seed", "not a seed"),
        ({"models": {"a": "b", "b": "a"}, "plan": "a"}, "models.b", "circle"),
        ({"hf": "x", "tokenizer": "bites"}, "plan.tokenizer", "bytes"),
        ({"average": {"models": ["a", 3]}}, "plan.average.models[1]", "one key"),
        ({"nosuch.ties": {"models": ["a"]}}, "plan.nosuch.ties", "no method named"),
    ],
)
def test_faults_are_named_with_their_path(document, field, says):
    with pytest.raises(ConsortError) as error:
        parse(document)
    assert error.value.field == field
    assert says in f"{error.value} {error.value.hint}"


def test_a_plan_comes_from_a_file_or_names_one_model(tmp_path):
    file = tmp_path / "plan.yml"
    file.write_text("linear: {models: [a, b]}\n")
    assert read_plan(file) == parse({"linear": {"models": ["a", "b"]}})
    assert read_plan("lab:base").root == Reference("lab:base")


def test_validation_imports_no_torch():
    code = f"import sys; from consort.plan import parse; parse({TEAM!r}); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
