"""Merged and extracted adapters: the sums they stand for, the files they make, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from consort.core.errors import BadCheckpoint, BadParameter, ConsortError, Incompatible, Unsupported
from consort.merge import methods
from consort.merge.adapters.extract_adapter import ExtractAdapter
from consort.merge.adapters.low_rank import rank_of_energy
from consort.merge.adapters.merge_adapters import MergeAdapters
from consort.plan import build, dump, parse, to_plan
from consort.weights import Adapted, Memory, open_adapter, write

Q, N, HEAD = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.input_layernorm.weight", "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"
SHAPES = {EMBEDDING: (9, 6), Q: (6, 6), "model.layers.0.mlp.up_proj.weight": (8, 6), N: (6,), HEAD: (9, 6)}
CONFIG = {"model_type": "llama", "vocab_size": 9, "tie_word_embeddings": False}


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def model(seed, name="base"):
    return Memory({k: normal(seed + i, *shape) for i, (k, shape) in enumerate(SHAPES.items())}, CONFIG, name=name)


@pytest.fixture
def make(tmp_path):
    """make("a", seed=1, r=2, alpha=4, names=[...], **config) writes an adapter folder with peft's names."""

    def adapter(name, seed=0, r=2, alpha=4, names=(Q,), extra=None, **config):
        tensors = {f"base_model.model.{k}": v for k, v in (extra or {}).items()}
        for key in names:
            stem = f"base_model.model.{key.removesuffix('.weight')}"
            tensors[f"{stem}.lora_A.weight"] = normal(seed, r, SHAPES[key][1])
            tensors[f"{stem}.lora_B.weight"] = normal(seed + 1, SHAPES[key][0], r)
        (tmp_path / name).mkdir()
        settings = {"peft_type": "LORA", "r": r, "lora_alpha": alpha, "base_model_name_or_path": "org/base"} | config
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(settings))
        save_file(tensors, tmp_path / name / "adapter_model.safetensors")
        return open_adapter(tmp_path / name)

    return adapter


def delta(adapter, base, name=Q):
    return Adapted(base, adapter)[name] - base[name]


def close(found, expected, atol=1e-6):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol)


def test_exact_is_the_weighted_sum_of_the_deltas(make):
    base, up = model(0), "model.layers.0.mlp.up_proj.weight"
    a, b = make("a", 1), make("b", 5, r=3, alpha=3, names=(Q, up), use_rslora=True)
    merged = MergeAdapters([a, b], weight=[0.5, -2.0])
    close(delta(merged, base), 0.5 * delta(a, base) - 2 * delta(b, base), atol=1e-5)
    close(delta(merged, base, up), -2 * delta(b, base, up), atol=1e-5)
    assert merged.config["r"] == 5 and merged.config["rank_pattern"] == {up.removesuffix(".weight"): 3}


def test_truncation_is_the_best_approximation_of_its_rank(make):
    base = model(0)
    adapters = [make("a", 1, r=3), make("b", 5, r=2)]
    whole, cut = MergeAdapters(adapters), MergeAdapters(adapters, rank=2)
    u, s, v = torch.linalg.svd(delta(whole, base).double())
    best = ((u[:, :2] * s[:2]) @ v[:2]).float()
    close(delta(cut, base), best, atol=1e-5)
    assert cut.spec(cut.keys()[0]).shape == (2, 6) and cut.config["rank_pattern"] == {}
    close(delta(MergeAdapters(adapters, rank=40), base), delta(whole, base), atol=1e-5)


def test_factors_are_merged_separately(make):
    """By hand: A 1 and 3, B 2 and 4, s 4 and 1: roots 2 and 1, so A (2 + 3)/2, B (4 + 4)/2, delta 10."""
    values = [(1.0, 2.0, 4.0), (3.0, 4.0, 1.0)]
    adapters = []
    for i, (a, b, alpha) in enumerate(values):
        factors = {f"l.lora_{k}.weight": torch.tensor([[v]]) for k, v in (("A", a), ("B", b))}
        adapters.append(make(f"m{i}", r=1, alpha=alpha, names=(), extra=factors))
    merged = MergeAdapters(adapters, mode="factor")
    assert Adapted(Memory({"l.weight": torch.zeros(1, 1)}, {}), merged)["l.weight"].item() == pytest.approx(10)
    with_ties = MergeAdapters(adapters, mode="factor", method={"ties": {"density": 1.0}})
    close(with_ties["base_model.model.l.lora_A.weight"], torch.tensor([[2.5]]))
    ends = MergeAdapters(adapters, mode="factor", method={"slerp": {"t": 1.0}})
    close(ends["base_model.model.l.lora_A.weight"], torch.tensor([[3.0]]))


def test_whole_tensors_add_up_over_the_base(make):
    base = model(0)
    saved = [make(n, i, extra={N: normal(20 + i, 6)}, modules_to_save=["input_layernorm"]) for i, n in enumerate("ab")]
    half = MergeAdapters(saved, weight=0.5)
    close(half[f"base_model.model.{N}"], (normal(20, 6) + normal(21, 6)) / 2)
    assert half.config["modules_to_save"] == ["input_layernorm"]
    with pytest.raises(BadParameter, match="base: is needed to add up .*input_layernorm"):
        MergeAdapters(saved).keys()
    close(MergeAdapters(saved, base=base)[f"base_model.model.{N}"], normal(20, 6) + normal(21, 6) - base[N])


def test_what_is_written_is_an_adapter_folder(make, tmp_path):
    merged = MergeAdapters([make("a", 1), make("b", 5)])
    written = write(merged, tmp_path / "out", shard_bytes=1, plan=to_plan(merged))
    names = ["README.md", "adapter_config.json", "adapter_model.safetensors", "merge_manifest.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(written.files) == names
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- peft" in card and "library_name: peft" in card and "- org/base" in card
    saved = open_adapter(tmp_path / "out")
    assert all(torch.equal(saved[key], merged[key]) for key in merged.keys())
    assert "dtype" not in saved.config and str(tmp_path) not in json.dumps(dict(saved.config))


def test_plans_make_adapters_and_apply_them(make, tmp_path):
    base = model(0)
    write(base, tmp_path / "base")
    a, b = make("a", 1), make("b", 5)
    merge = {"merge_adapters": {"models": [str(tmp_path / "a"), str(tmp_path / "b")], "weight": [0.5, 2], "rank": 3}}
    plan = parse({"apply_adapter": {"model": merge, "base": str(tmp_path / "base")}})
    assert parse(dump(plan)) == plan
    applied = build(plan, "checkpoint")
    expected = Adapted(base, MergeAdapters([a, b], weight=[0.5, 2], rank=3))
    assert torch.equal(applied[Q], expected[Q]) and applied.keys() == base.keys()
    assert parse(to_plan(applied)) == plan
    with pytest.raises(BadParameter, match="is a model, not an adapter"):
        build(parse({"merge_adapters": {"models": [str(tmp_path / "base")]}}), "checkpoint")


FAULTS = {
    "other base": ([{}, {"base_model_name_or_path": "org/else"}], {}, Incompatible, "b is over org/else"),
    "no base": ([{}, {"base_model_name_or_path": None}], {}, BadCheckpoint, "base_model_name_or_path: names no base"),
    "ranks": ([{}, {"r": 3}], {"mode": "factor"}, Incompatible, "has rank 2 in a, 3 in b"),
    "layout": ([{}, {"fan_in_fan_out": True}], {}, Incompatible, "fan_in_fan_out"),
    "weights": ([{}, {}], {"weight": [1, 2, 3]}, BadParameter, "3 values for 2"),
    "rank": ([{}, {}], {"mode": "factor", "rank": 2}, BadParameter, "rank: is kept"),
    "method": ([{}, {}], {"method": "ties"}, BadParameter, "acts on factors"),
    "unknown method": ([{}, {}], {"mode": "factor", "method": "tis"}, ConsortError, "tis"),
    "bad method": ([{}, {}], {"mode": "factor", "method": 3}, BadParameter, "no method"),
    "parameter": ([{}, {}], {"mode": "factor", "method": {"ties": {"density": 5}}}, BadParameter, "method.density"),
    "another base": ([{}, {}], {"base": Memory({"w": torch.ones(1)}, {})}, Incompatible, "no weight to adapt"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_adapters_that_cannot_be_merged_are_refused(case, make):
    configs, params, kind, said = FAULTS[case]
    adapters = [make(name, i, **config) for i, (name, config) in enumerate(zip("ab", configs, strict=True))]
    with pytest.raises(kind, match=said):
        MergeAdapters(adapters, **params)


def test_dora_has_no_low_rank_sum(make):
    norms = {"model.layers.0.self_attn.q_proj.lora_magnitude_vector": torch.ones(6)}
    with pytest.raises(Unsupported, match="DoRA"):
        MergeAdapters([make("a", extra=norms, use_dora=True)])


@pytest.fixture
def tuned():
    """A base, and a fine-tune of it whose delta has rank 2 in q_proj and full rank elsewhere."""
    base = model(0)
    changed = {k: base[k] + 0.1 * normal(50 + i, *s) for i, (k, s) in enumerate(SHAPES.items())}
    changed[Q] = base[Q] + normal(70, 6, 2) @ normal(71, 2, 6)
    return base, Memory(changed, CONFIG, name="tuned")


def test_full_rank_gives_the_fine_tune_again(tuned, tmp_path):
    base, fine = tuned
    write(ExtractAdapter(fine, base, rank=64), tmp_path / "out")
    again = Adapted(base, open_adapter(tmp_path / "out"))
    for name in base.keys():
        close(again[name], fine[name], atol=1e-5)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["model.embed_tokens", N.removesuffix(".weight")]


def test_a_delta_of_low_rank_is_found_by_its_energy(tuned):
    base, fine = tuned
    found = ExtractAdapter(fine, base, energy=1 - 1e-9, targets=["q_proj"], rest="leave")
    assert found.config["r"] == 2 and len(found.keys()) == 2
    close(delta(found, base), fine[Q] - base[Q], atol=1e-5)
    assert rank_of_energy(torch.tensor([3.0, 1.0, 0.0]), 0.75) == 1
    assert [rank_of_energy(torch.tensor([3.0, 1.0, 0.0]), e) for e in (0.76, 1.0)] == [2, 2]
    assert rank_of_energy(torch.zeros(3), 1.0) == 0


def test_truncation_of_a_fine_tune_is_the_best_of_its_rank(tuned):
    base, fine = tuned
    up = "model.layers.0.mlp.up_proj.weight"
    u, s, v = torch.linalg.svd((fine[up] - base[up]).double(), full_matrices=False)
    close(delta(ExtractAdapter(fine, base, rank=3), base, up), ((u[:, :3] * s[:3]) @ v[:3]).float(), atol=1e-5)


def test_extraction_refuses_what_makes_no_adapter(tuned, make):
    base, fine = tuned
    with pytest.raises(BadParameter, match="one of rank and energy"):
        ExtractAdapter(fine, base)
    with pytest.raises(BadParameter, match="no linear weight"):
        ExtractAdapter(fine, base, rank=1, targets=["c_attn"])
    with pytest.raises(Incompatible, match="no low-rank form: model.embed_tokens.weight"):
        ExtractAdapter(fine, base, rank=1, rest="refuse").keys()
    with pytest.raises(Incompatible, match="equal linear weights"):
        ExtractAdapter(base, base, energy=0.5).keys()
    with pytest.raises(BadParameter, match="is an adapter"):
        ExtractAdapter(make("a"), base, rank=1)
    broken = Memory({**{k: fine[k] for k in fine.keys()}, Q: torch.full((6, 6), torch.nan)}, CONFIG)
    with pytest.raises(BadCheckpoint, match=f"{Q}: the delta has NaN"):
        ExtractAdapter(broken, base, rank=1)[f"base_model.model.{Q.removesuffix('.weight')}.lora_A.weight"]


@pytest.mark.parametrize("mode", ["core", "knots"])
def test_a_shared_basis_loses_nothing(make, mode):
    base = model(0)
    a, b = make("a", 1, r=3, alpha=6), make("b", 5, r=2, alpha=1)
    summed = MergeAdapters([a, b], weight=[0.5, -2.0], mode=mode)
    close(delta(summed, base), 0.5 * delta(a, base) - 2 * delta(b, base), atol=1e-5)
    close(delta(MergeAdapters([a], mode=mode), base), delta(a, base), atol=1e-5)
    close(delta(MergeAdapters([a, b], mode=mode, rank=2), base), delta(MergeAdapters([a, b], rank=2), base), atol=1e-5)


@pytest.mark.parametrize(("name", "params"), [("iso_c", {}), ("tsv_m", {"rank": 2}), ("wudi", {}), ("actmerge", {})])
def test_orthogonal_methods_are_the_same_in_core_space(make, name, params):
    base, adapters = model(0), [make("a", 1, r=2), make("b", 5, r=2)]
    merged = MergeAdapters(adapters, mode="core", method={name: params})
    whole = methods.get(name)(torch.stack([delta(a, base) for a in adapters]), **params)
    close(delta(merged, base), whole, atol=1e-4)


def test_knots_in_and_out(make):
    base = model(0)
    adapters = [make("a", 1, r=3), make("b", 5, r=2)]
    merged = MergeAdapters(adapters, mode="knots", method={"ties": {"density": 0.5}})
    whole = methods.get("knots")(torch.stack([delta(a, base) for a in adapters]), density=0.5)
    close(delta(merged, base), whole, atol=1e-4)


def test_what_cannot_be_merged_in_a_basis(make):
    adapters = [make("a", 1), make("b", 5)]
    with pytest.raises(BadParameter, match="draws entry by entry"):
        MergeAdapters(adapters, mode="core", method="dare_ties")
    with pytest.raises(BadParameter, match="not a method of deltas"):
        MergeAdapters(adapters, mode="core", method="slerp")
    with pytest.raises(BadParameter, match="method"):
        MergeAdapters(adapters, mode="core", method={"ties": {"density": 3}})
    with pytest.raises(BadParameter, match="acts on factors"):
        MergeAdapters(adapters, method="ties")
