"""mergekit's YAML: what it becomes, what of it is refused, and what comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from consort.core.errors import ConsortError
from consort.merge import methods
from consort.plan import build, dump, parse, read_plan, to_plan
from consort.plan.mergekit.methods import METHODS
from consort.plan.mergekit.models import Model, read_model
from consort.plan.mergekit.translate import is_mergekit

AB = [{"model": "a"}, {"model": "b"}]


def planned(text):
    return dump(parse(yaml.safe_load(text)))


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        (
            "{merge_method: linear, models: [{model: a, parameters: {weight: 1}},"
            " {model: b, parameters: {weight: '2e0'}}]}",
            {"linear": {"models": ["a", "b"], "weight": [1, 2]}},
        ),
        (
            "{merge_method: ties, base_model: o, models: [{model: a}, {model: o}],"
            " parameters: {weight: 1, rescale: true}}",
            {"ties": {"models": ["a"], "base": "o", "density": 1, "rescale": "l1"}},
        ),
        (
            "{merge_method: dare_ties, base_model: o, models: [{model: a}], parameters: {weight: 1, density: 0.5}}",
            {"dare_ties": {"models": ["a"], "base": "o", "rescale": "l1"}},
        ),
        (
            "{merge_method: model_stock, base_model: o, models: [{model: a}, {model: b}],"
            " out_dtype: float16, dtype: float32}",
            {"model_stock": {"models": ["a", "b"], "base": "o", "dtype": "float16", "clamp": False}},
        ),
        (
            "{merge_method: slerp, base_model: a, models: [{model: a}, {model: a}], parameters: {t: [0, 1]}}",
            {"slerp": {"models": ["a"], "base": "a", "t": {"by_layer": [0, 1], "head": 0}}},
        ),
        (
            "{merge_method: passthrough, base_model: o, slices: [{sources: [{model: a, layer_range: [0, 2]}]}]}",
            {"stack": {"slices": [{"model": "a", "layers": [0, 2]}], "base": "o"}},
        ),
        (
            "{merge_method: linear, models: [{model: a+l, parameters: {weight: 1}}], chat_template: chatml}",
            {"chat_template": {"model": {"linear": {"models": [{"hf": "l", "base": "a"}]}}, "template": "chatml"}},
        ),
    ],
)
def test_it_becomes_a_plan(text, plan):
    assert planned(text) == plan


def test_a_parameter_is_looked_up_from_the_inside_out():
    """Source, output slice, module, file, default; filters that match nothing pass on."""
    text = """
    merge_method: task_arithmetic
    base_model: o
    parameters: {weight: 5, lambda: 0.5}
    modules:
      default:
        parameters: {weight: [{filter: m, value: 4}]}
        slices:
          - parameters: {weight: [{filter: s, value: 3}]}
            sources:
              - {model: o, layer_range: [0, 2]}
              - {model: a, layer_range: [0, 2], parameters: {weight: [{filter: x, value: 2}]}}
              - {model: b, layer_range: [1, 3], parameters: {weight: 1}}
    """
    call = planned(text)["task_arithmetic"]
    rules = [{"match": "x", "value": 2}, {"match": "s", "value": 3}, {"match": "m", "value": 4}, {"value": 5}]
    assert call["weight"] == [{"by_name": rules}, 1] and call["lambda"] == 0.5
    assert call["models"][1] == {"stack": {"slices": [{"model": "b", "layers": [1, 3]}]}}


def test_slices_are_merged_by_themselves_and_stacked():
    text = """
    merge_method: linear
    slices:
      - sources: [{model: a, layer_range: [0, 3]}]
      - sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [1, 2]}]
    parameters: {weight: 1}
    """
    first, second = planned(text)["stack"]["slices"]
    assert (first["layers"], second["layers"]) == ([0, 3], [3, 4])
    cut = {"stack": {"slices": [{"model": "b", "layers": [1, 2]}], "first_layer": 3}}
    assert second["model"]["linear"]["models"][1] == cut


@pytest.mark.parametrize(
    ("given", "planned_as"),
    [
        ({"tokenizer_source": "union"}, "union"),
        ({"tokenizer_source": "b"}, 1),
        ({"tokenizer_source": "o"}, 2),
        ({"tokenizer": {"source": "base"}}, "base"),
        ({"tokenizer": {"pad_to_multiple_of": 8}}, {"source": "union", "pad_to_multiple_of": 8}),
        (
            {"tokenizer": {"tokens": {"<x>": {"source": {"kind": "model_token", "model": "b", "token_id": 3}}}}},
            {"source": "union", "tokens": {"<x>": {"source": {"kind": "model_token", "model": 1, "token_id": 3}}}},
        ),
        (
            {"tokenizer": {"source": "a", "tokens": {"<x>": {"source": "o", "force": True}}}},
            {"source": 0, "tokens": {"<x>": {"source": 2, "force": True}}},
        ),
    ],
)
def test_models_of_the_tokenizer_are_numbers_of_inputs(given, planned_as):
    call = dump(parse({**linear(), "base_model": "o", **given}))["linear"]
    assert call["tokenizer"] == planned_as


def test_documents_are_put_in_order(tmp_path):
    one = {"name": "one", "merge_method": "linear", "models": AB, "parameters": {"weight": 1}}
    last = {"merge_method": "linear", "models": [{"model": "one"}, {"model": "c"}], "parameters": {"weight": 1}}
    for documents in ([one, last], [last, one]):
        (tmp_path / "m.yml").write_text(yaml.safe_dump_all(documents))
        plan = read_plan(tmp_path / "m.yml")
        assert dump(plan) == {"linear": {"models": [{"linear": {"models": ["a", "b"]}}, "c"]}}
        assert list(plan.mergekit) == documents


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([{"name": "a", "models": [{"model": "b"}]}, {"name": "b", "models": [{"model": "a"}]}], "circle"),
        ([{"name": "x", "models": AB}, {"name": "x", "models": AB}], "'x' stands twice"),
        ([{"models": AB}, {"models": AB}], "two documents have no name"),
        ([{"name": "x", "models": AB}, {"name": "y", "models": AB}], "x, y are used by no other"),
    ],
)
def test_documents_that_do_not_fit_together(documents, says, tmp_path):
    filled = [{"merge_method": "linear", "parameters": {"weight": 1}, **d} for d in documents]
    (tmp_path / "m.yml").write_text(yaml.safe_dump_all(filled))
    with pytest.raises(ConsortError, match=says):
        read_plan(tmp_path / "m.yml")


def test_names_of_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b@c").mkdir()
    (tmp_path / "d+e").mkdir()
    (tmp_path / "org" / "local").mkdir(parents=True)
    found = {
        "a+b@c": Model("a+b@c"),
        "d+e+f": Model("d+e", "f"),
        "org/local": Model("org/local"),
        "org/name": Model("hf:org/name"),
        "org/name@v1+org/lora@v2": Model("hf:org/name@v1", "hf:org/lora@v2"),
        "./x/y": Model("./x/y"),
        "lab:base+lab:lora-yell": Model("lab:base", "lab:lora-yell"),
    }
    assert {text: read_model(text, "") for text in found} == found
    assert read_model({"model": "x+y", "lora": {"path": "org/l", "revision": "r"}}, "") == Model("x+y", "hf:org/l@r")


def test_what_is_mergekits():
    assert is_mergekit({"merge_method": "ties"}) and is_mergekit({"models": [{"model": "a"}]})
    assert is_mergekit({"slices": []}) and is_mergekit({"base_model": "a"})
    assert not any(map(is_mergekit, ({"models": {"a": "b"}, "plan": "a"}, {"ties": {}}, "a", None)))


def linear(**more):
    return {"merge_method": "linear", "models": AB, "parameters": {"weight": 1}, **more}


def ties(**parameters):
    return {"merge_method": "ties", "base_model": "o", "models": AB, "parameters": {"weight": 1, **parameters}}


def slices(*ranges, **more):
    sources = [{"model": "a", "layer_range": r} for r in ranges]
    return {"merge_method": "linear", "slices": [{"sources": sources, **more}], "parameters": {"weight": 1}}


@pytest.mark.parametrize(
    ("document", "field", "says"),
    [
        (ties(densty=0.1), "parameters.densty", "did you mean 'density'"),
        (linear(dtyp="float16"), "dtyp", "did you mean 'dtype'"),
        (linear(out_dtyp="float16"), "out_dtyp", "did you mean 'out_dtype'"),
        (ties(density=50), "parameters.density", "[0, 1]"),
        (ties(density=[0.1, "x"]), "parameters.density[1]", "a number"),
        (ties(density=[{"filter": "mlp", "value": [0, 2]}]), "parameters.density[0].value[1]", "[0, 1]"),
        (ties(density=[{"fliter": "mlp", "value": 0}]), "parameters.density[0].fliter", "did you mean 'filter'"),
        (ties(density=[{"filter": "mlp"}]), "parameters.density[0]", "has no value"),
        (ties(density=[]), "parameters.density", "empty"),
        (linear(merge_method="lineer"), "merge_method", "did you mean 'linear'"),
        ({"models": AB}, "merge_method", "there is no merge_method"),
        (linear(slices=[{"sources": []}]), "plan", "both there"),
        ({"merge_method": "linear"}, "plan", "exactly one of"),
        (linear(models=[{"modle": "a"}]), None, "did you mean 'model'"),
        (linear(models=[{"model": ""}]), "models[0].model", "names no model"),
        (linear(models=[{"model": {"model": "a", "lroa": "b"}}]), "models[0].model.lroa", "did you mean 'lora'"),
        (linear(models="a"), "models", "not a list"),
        (linear(parameters=[1]), "parameters", "not a mapping"),
        (linear(parameters={}), "parameters.weight", "linear needs weight"),
        (linear(dtype="int8"), "dtype", "no dtype"),
        (slices([1, 1]), "slices[0].sources[0].layer_range", "holds no layer"),
        (slices([0, 2], [0, 3]), "slices[0].sources", "different numbers"),
        (slices([0]), "slices[0].sources[0].layer_range", "not a range"),
        (slices([0, 1], wieght=1), "slices[0].wieght", "unknown key"),
        ({**ties(), "base_model": None}, "base_model", "needs a base_model"),
        (
            {**slices([0, 1]), "merge_method": "task_arithmetic", "base_model": "o"},
            "slices[0].sources",
            "not among the sources",
        ),
        (
            linear(models=[{"model": "a", "parameters": {"normalize": True}}]),
            "models[0].parameters.normalize",
            "one for all models",
        ),
        (linear(tokenizer_source="c"), "tokenizer", "c is not an input"),
        (linear(tokenizer={"tokens": {"x": {"suorce": "a"}}}), "tokenizer.tokens.x.suorce", "did you mean 'source'"),
        (linear(tokenizer={"source": "base"}, tokenizer_source="base"), "tokenizer", "one of the two"),
        (linear(tokenizer={"suorce": "base", "source": "base"}), "tokenizer.suorce", "did you mean 'source'"),
        (
            {"modules": {"a": {"models": AB}, "b": {"models": AB}}, "merge_method": "linear"},
            "modules.a",
            "no module is known",
        ),
        ({**ties(rescale=True), "merge_method": "breadcrumbs"}, "parameters.rescale", "cannot rescale"),
        ({"base_model": "a", "experts": [], "gate_mode": "random"}, "experts", "mergekit-moe"),
    ],
)
def test_faults_are_named_with_their_place(document, field, says):
    with pytest.raises(ConsortError) as error:
        parse(document)
    faults = error.value.faults or (error.value,)
    assert says in f"{error.value} {error.value.hint}"
    assert field is None or field in [fault.field for fault in faults]


def test_all_faults_of_a_file_are_named_at_once():
    broken = {**ties(densty=1, density=50), "dtyp": "x"}
    broken["models"] = [{"model": "a", "parameters": {"wieght": 1}}, {"model": "b", "modle": 1}]
    with pytest.raises(ConsortError) as error:
        parse(broken)
    places = ["dtyp", "models[1].modle", "parameters.densty", "models[0].parameters.wieght", "parameters.density"]
    assert [fault.field for fault in error.value.faults] == places


def test_what_has_no_effect_is_told(caplog):
    document = ties(int8_mask=True, t=0.5)
    document["models"] = [{"model": "o", "parameters": {"weight": 1}}, {"model": "a"}]
    parse(document)
    told = " | ".join(caplog.messages)
    assert "parameters.t has no effect with ties" in told and "ties without density keeps every entry" in told
    assert "models[0].parameters have no effect" in told and "int8_mask" not in told


def test_gradients_of_the_head_are_told(caplog):
    parse(linear(parameters={"weight": [{"filter": "mlp", "value": [0, 1]}, {"value": [1, 1]}]}))
    assert not caplog.messages
    parse(linear(parameters={"weight": [0, 1]}))
    assert "weight: mergekit gives the final norm and the head the first value" in caplog.text


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_goes_round(name):
    """YAML, plan, objects and back."""
    method = METHODS[name]
    models = 2 if name in ("nuslerp", "model_stock") else 1
    document = {"merge_method": name, "models": [{"model": m} for m in ("lab:mirror", "lab:order")[:models]]}
    document |= {"base_model": "lab:base"} if method.base == "required" else {}
    document["parameters"] = {n: 0.3 for n in method.params if method.required(n)} | (
        {"epsilon": 0.0} if name.startswith("della") else {}
    )
    plan = parse(document)
    assert parse(dump(plan)) == plan
    made = build(plan, "checkpoint")
    assert parse(to_plan(made)) == plan
    assert made[made.keys()[-1]].isfinite().all()


def test_the_methods_are_those_of_the_registry():
    assert set(METHODS) <= set(methods) and len(METHODS) == 20


def tiny(folder, values, dtype=torch.float32, **config):
    """A model of one layer whose tensors are filled with these values."""
    folder.mkdir()
    names = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight")
    shapes = ((config.pop("rows", 4), 2), (2, 2), (2,), (4, 2))
    tensors = {n: torch.full(s, float(v), dtype=dtype) for n, s, v in zip(names, shapes, values, strict=True)}
    save_file(tensors, folder / "model.safetensors")
    found = {"hidden_size": 2, "num_hidden_layers": 1, "vocab_size": 4, "tie_word_embeddings": False, **config}
    (folder / "config.json").write_text(json.dumps(found))
    return str(folder)


def test_the_first_input_gives_configuration_and_tokenizer(tmp_path):
    """Regression 1: whatever PYTHONHASHSEED is."""
    for i in range(3):
        tiny(tmp_path / f"m{i}", [i] * 4, bos_token_id=i)
    file = tmp_path / "m.yml"
    file.write_text(yaml.safe_dump(linear(models=[{"model": str(tmp_path / f"m{i}")} for i in (2, 0, 1)])))
    code = f"from consort.plan import *; print(build(read_plan({str(file)!r}), 'checkpoint').config['bos_token_id'])"
    for seed in "01":
        environment = {"PYTHONHASHSEED": seed, "PATH": "", "OMP_NUM_THREADS": "1"}
        shown = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert shown.stdout.strip() == "2"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (ties(density=[{"filter": "up_prj", "value": 0.5}]), "no tensor has 'up_prj' in its name"),  # regression 3
        ({**linear(), "parameters": {"weight": 1}, "config": {"rope_theta": 1e6}}, "rope"),  # 8
        (slices([0, 2]), "not inside the layers"),
    ],
)
def test_faults_that_headers_show(document, says, tmp_path):
    config = document.pop("config", {})
    paths = {
        name: tiny(tmp_path / name, [1] * 4, **({"rope_theta": 1e4} | (config if name == "b" else {})))
        for name in "abo"
    }
    with pytest.raises(ConsortError, match=says):
        build(parse(json.loads(replaced(json.dumps(document), paths))), "checkpoint")


def replaced(text, paths):
    for name, path in paths.items():
        text = text.replace(f'"{name}"', json.dumps(path))
    return text


def test_weights_that_cancel_are_refused(tmp_path):
    """Regression 6."""
    paths = [tiny(tmp_path / name, [1] * 4) for name in "ab"]
    for method in ("linear", "multislerp"):
        models = [{"model": p, "parameters": {"weight": w}} for p, w in zip(paths, (1, -1), strict=True)]
        with pytest.raises(ConsortError, match="sum to zero"):
            build(parse({"merge_method": method, "models": models}), "checkpoint")


def test_rows_beyond_the_tokenizer_stay(tmp_path):
    """Regression 9: 4 rows, 3 tokens."""
    paths = [tiny(tmp_path / name, [1] * 4) for name in "ab"]
    for path in paths:
        vocabulary = {"model": {"type": "WordLevel", "vocab": {"x": 0, "y": 1, "z": 2}}}
        Path(path, "tokenizer.json").write_text(json.dumps(vocabulary))
    models = [{"model": p} for p in paths]
    merged = build(parse(linear(models=models, base_model=paths[0], tokenizer_source="base")), "checkpoint")
    assert merged["model.embed_tokens.weight"].shape == (4, 2) and merged.config["vocab_size"] == 4


def test_norm_and_head_are_merged_from_all_sources_of_the_last_slice(tmp_path):
    """Regression 11."""
    a, b = tiny(tmp_path / "a", [1, 1, 1, 1]), tiny(tmp_path / "b", [3, 3, 3, 3])
    parts = [{"sources": [{"model": m, "layer_range": [0, 1]} for m in models]} for models in ([a], [a, b])]
    merged = build(parse({"merge_method": "linear", "slices": parts, "parameters": {"weight": 1}}), "checkpoint")
    values = {name: merged[name].flatten()[0].item() for name in merged.keys()}
    assert values == {
        "model.embed_tokens.weight": 1,
        "model.layers.0.mlp.up_proj.weight": 1,
        "model.layers.1.mlp.up_proj.weight": 2,
        "lm_head.weight": 2,
        "model.norm.weight": 2,
    }


def test_weights_are_not_rounded_first(tmp_path):
    """Regression 14: weight 0.6 with dtype bfloat16."""
    base, model = tiny(tmp_path / "o", [0] * 4, torch.bfloat16), tiny(tmp_path / "a", [3] * 4, torch.bfloat16)
    document = {"merge_method": "task_arithmetic", "base_model": base, "dtype": "bfloat16"}
    document["models"] = [{"model": model, "parameters": {"weight": 0.6}}]
    assert build(parse(document), "checkpoint")["lm_head.weight"][0, 0].item() == 1.796875


def test_a_gradient_reaches_the_head_at_its_beginning_only_in_yaml(tmp_path):
    """Regression 20."""
    base, model = tiny(tmp_path / "o", [0] * 4), tiny(tmp_path / "a", [1] * 4)
    document = {"merge_method": "task_arithmetic", "base_model": base, "models": [{"model": model}]}
    theirs = build(parse({**document, "parameters": {"weight": [0, 1]}}), "checkpoint")
    plan = {"task_arithmetic": {"models": [model], "base": base, "weight": {"by_layer": [0, 1]}}}
    ours = build(parse(plan), "checkpoint")
    assert (theirs["lm_head.weight"][0, 0], ours["lm_head.weight"][0, 0]) == (0, 1)
    assert (theirs["model.norm.weight"][0], ours["model.norm.weight"][0]) == (0, 1)


def test_reading_imports_no_torch():
    code = f"import sys; from consort.plan import parse; parse({linear()!r}); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
