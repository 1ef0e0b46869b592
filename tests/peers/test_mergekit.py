"""The same YAML through mergekit 0.1.5, on tiny random models of float32: equal within 1e-5, or a reason below.

Runs where CONSORT_MERGEKIT names the Python of an environment of its own that has mergekit:

    python -m venv /tmp/mergekit && /tmp/mergekit/bin/pip install mergekit==0.1.5
    CONSORT_MERGEKIT=/tmp/mergekit/bin/python pytest tests/peers/test_mergekit.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from consort.plan import build, parse

PYTHON = os.environ.get("CONSORT_MERGEKIT")
pytestmark = pytest.mark.skipif(not PYTHON, reason="CONSORT_MERGEKIT does not name a Python that has mergekit 0.1.5")

LAYERS, WIDTH, HEADS, FFN, VOCABULARY = 4, 16, 2, 24, 40
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
DRIVER = """
import sys, pathlib, yaml, traceback
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.yml")):
    config = MergeConfiguration.model_validate(yaml.safe_load(file.read_text()))
    run_merge(config, str(file.with_suffix("")), MergeOptions(copy_tokenizer=False, quiet=True))
"""


def each(*weights, **shared):
    """Models a, b, ... with these weights."""
    return {
        "models": [{"model": m, "parameters": {"weight": w}} for m, w in zip("abc", weights, strict=False)],
        **({"parameters": shared} if shared else {}),
    }


def sliced(*slices, **more):
    """Slices of ("a", 0, 2) or ("a", 0, 2, {parameters})."""
    found = []
    for sources in slices:
        entries = [
            {"model": m, "layer_range": [a, b], **({"parameters": p[0]} if p else {})} for m, a, b, *p in sources
        ]
        found.append({"sources": entries})
    return {"slices": found, **more}


AB, ABC = {"models": [{"model": "a"}, {"model": "b"}]}, {"models": [{"model": m} for m in "abc"]}
FILTERS = [
    {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
    {"filter": "mlp", "value": [1, 0.2]},
    {"value": 0.5},
]
CASES = {
    "linear": {"merge_method": "linear", **each(1, 3)},
    "linear-sum": {"merge_method": "linear", **each(0.5, 0.25, normalize=False)},
    "linear-gradients": {"merge_method": "linear", **each([0, 0.3, 1], [1, 0.5])},
    "linear-filters": {"merge_method": "linear", **each(FILTERS, 1, FILTERS[:1], weight=0.1)},
    "linear-strings": {"merge_method": "linear", **each("1e-1", ["1e-1", "1.0"])},
    "linear-base-listed": {"merge_method": "linear", "base_model": "a", **each(0.2, 0.8)},
    "linear-uneven-slices": {
        "merge_method": "linear",
        **sliced([("a", 0, 2)], [("b", 0, 1), ("c", 3, 4)], parameters={"weight": 1}),
    },
    "linear-slices": {
        "merge_method": "linear",
        **sliced(
            [("a", 0, 2, {"weight": [0, 1]}), ("b", 1, 3, {"weight": 1})],
            [("c", 2, 4, {"weight": FILTERS}), ("a", 0, 2)],
            parameters={"weight": [0.5, 1]},
        ),
    },
    "passthrough": {"merge_method": "passthrough", "models": [{"model": "a", "parameters": {"scale": 0.5}}]},
    "passthrough-stack": {"merge_method": "passthrough", **sliced([("a", 0, 3)], [("b", 1, 4)])},
    "passthrough-scale": {
        "merge_method": "passthrough",
        **sliced([("a", 0, 3)], [("a", 2, 4, {"scale": [{"filter": "down_proj", "value": 0}, {"value": 1}]})]),
    },
    "slerp": {"merge_method": "slerp", "base_model": "a", **AB, "parameters": {"t": FILTERS}},
    "slerp-slices": {
        "merge_method": "slerp",
        "base_model": "a",
        **sliced([("a", 0, 2), ("b", 0, 2)], [("b", 2, 4), ("a", 2, 4)], parameters={"t": [0.1, 0.9]}),
    },
    "nuslerp": {"merge_method": "nuslerp", **each(1, 3)},
    "nuslerp-base": {"merge_method": "nuslerp", "base_model": "o", **each(1, 0.4)},
    "nuslerp-rows": {"merge_method": "nuslerp", **each(1, 3, nuslerp_flatten=False)},
    "nuslerp-columns": {"merge_method": "nuslerp", **each(1, 3, nuslerp_flatten=False, nuslerp_row_wise=True)},
    "multislerp": {"merge_method": "multislerp", **each(1, 2, 0.5)},
    "multislerp-base": {"merge_method": "multislerp", "base_model": "o", **each(1, 2, 0.5)},
    "karcher": {"merge_method": "karcher", **ABC, "parameters": {"max_iter": 50, "tol": 1e-7}},
    "task-arithmetic": {
        "merge_method": "task_arithmetic",
        "base_model": "o",
        **each(0.6, [-0.5, 1], **{"lambda": 0.9}),
    },
    "task-arithmetic-normalize": {"merge_method": "task_arithmetic", "base_model": "o", **each(1, 2, normalize=True)},
    "ties": {"merge_method": "ties", "base_model": "o", **each(1, 0.5, 2, density=0.3)},
    "ties-sum": {"merge_method": "ties", "base_model": "o", **each(1, 0.5, density=[0.2, 1], normalize=False)},
    "ties-rescale": {"merge_method": "ties", "base_model": "o", **each(1, 0.5, density=0.5, rescale=True)},
    "ties-untrimmed": {"merge_method": "ties", "base_model": "o", **each(1, 0.5)},
    "breadcrumbs": {"merge_method": "breadcrumbs", "base_model": "o", **each(1, 0.5, density=0.8, gamma=0.1)},
    "breadcrumbs-ties": {"merge_method": "breadcrumbs_ties", "base_model": "o", **each(1, 0.5, density=0.7, gamma=0.2)},
    "sce": {"merge_method": "sce", "base_model": "o", **ABC},
    "sce-select": {"merge_method": "sce", "base_model": "o", **ABC, "parameters": {"select_topk": 0.5}},
    "model-stock": {"merge_method": "model_stock", "base_model": "o", **ABC},
    "model-stock-rows": {"merge_method": "model_stock", "base_model": "o", **AB, "parameters": {"filter_wise": True}},
    "nearswap": {"merge_method": "nearswap", "base_model": "o", "models": [{"model": "a"}], "parameters": {"t": 0.01}},
    "arcee-fusion": {"merge_method": "arcee_fusion", "base_model": "o", "models": [{"model": "a"}]},
    "ram": {"merge_method": "ram", "base_model": "o", **AB},
    "ramplus-tl": {"merge_method": "ramplus_tl", "base_model": "o", **AB, "parameters": {"r": 0.3, "alpha": 0.5}},
}

OTHERWISE = {
    ("linear-uneven-slices", "model.norm.weight"): 1.0,  # mergekit: of one source of the last slice, not of both
    ("linear-uneven-slices", "lm_head.weight"): 1.0,
    ("arcee-fusion", "model.layers.2.self_attn.k_proj.weight"): 1 / 256,  # one entry at the threshold: mergekit's
    ("arcee-fusion", "model.layers.3.self_attn.k_proj.weight"): 1 / 256,  # divergence is a float32 sum that cancels
    ("arcee-fusion", "model.layers.3.self_attn.v_proj.weight"): 1 / 256,
}
"""The share of a tensor's entries that is another on purpose."""


def shapes():
    inside = {
        "input_layernorm": (WIDTH,),
        **{f"self_attn.{p}_proj": (WIDTH, WIDTH) for p in "qkvo"},
        "post_attention_layernorm": (WIDTH,),
        **{f"mlp.{p}_proj": (FFN, WIDTH) for p in ("gate", "up")},
        "mlp.down_proj": (WIDTH, FFN),
    }
    found = {"model.embed_tokens": (VOCABULARY, WIDTH), "model.norm": (WIDTH,), "lm_head": (VOCABULARY, WIDTH)}
    found |= {f"model.layers.{i}.{name}": shape for i in range(LAYERS) for name, shape in inside.items()}
    return {f"{name}.weight": shape for name, shape in found.items()}


def make(folder: Path) -> None:
    """Models a, b and c near a base o; in half of their tensors half of the entries are the base's."""
    base = {n: torch.randn(s, generator=torch.Generator().manual_seed(i)) for i, (n, s) in enumerate(shapes().items())}
    for number, name in enumerate("oabc"):
        generator = torch.Generator().manual_seed(1000 + number)
        tensors = {}
        for i, (key, tensor) in enumerate(base.items()):
            change = 0.02 * torch.randn(tensor.shape, generator=generator)
            kept = torch.rand(tensor.shape, generator=generator) < (0.5 if i % 2 else 1)
            tensors[key] = tensor + change * kept * (name != "o")
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(CONFIG))
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """The folder in which mergekit merged every case."""
    folder = tmp_path_factory.mktemp("peers")
    make(folder)
    cases = folder / "cases"
    cases.mkdir()
    for name, case in CASES.items():
        (cases / f"{name}.yml").write_text(yaml.safe_dump(located(case, folder), sort_keys=False))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([PYTHON, "-c", DRIVER, str(cases)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def located(value, folder):
    """A case with the models' folders in the place of their letters."""
    if isinstance(value, dict):
        return {
            k: str(folder / v) if k in ("model", "base_model") else located(v, folder) for k, v in value.items()
        } | ({"dtype": "float32"} if "merge_method" in value else {})
    return [located(v, folder) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_mergekit_gives(name, merged):
    ours = build(parse(located(CASES[name], merged)), "checkpoint")
    theirs = {}
    for file in sorted((merged / "cases" / name).glob("*.safetensors")):
        theirs |= load_file(file)
    assert sorted(ours.keys()) == sorted(theirs)
    for key, tensor in theirs.items():
        distance = relative(ours[key], tensor)
        share = (distance > 1e-5).double().mean().item()
        print(f"{name} {key}: {distance.max():.1e}")
        assert share <= OTHERWISE.get((name, key), 0), (key, distance.max())


def relative(one, other):
    """Differences as a part of the largest magnitude."""
    return (one - other).abs() / other.abs().max().clamp(min=1e-30)
