"""The compiled arithmetic gives torch's bits, and nothing is lost where it cannot be had."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

from consort.merge import merge
from consort.merge.arithmetic import compiled, votes
from consort.merge.arithmetic.order_statistics import Bracket
from consort.weights.checkpoint import Memory
from consort.weights.disk.writer import write

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler here")
ENTRIES = 3 * 2**12 + 5
METHODS = {
    "linear": {"weight": [0.3, 1.1]},
    "task_arithmetic": {"lambda_": 0.7},
    "ties": {"density": 0.3, "lambda_": 1.3, "weight": [0.5, 2.0]},
    "dare_ties": {"density": 0.5},
    "della": {"density": 0.5},
    "breadcrumbs": {},
    "swa": {},
}


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has compiled nothing yet, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "_state", {})
    monkeypatch.setattr(compiled, "_seen", [0])
    monkeypatch.setattr(compiled, "WORTH", 1)
    return tmp_path


def drawn(models: int, seed: int = 0) -> torch.Tensor:
    """Values with zeros of both signs, equal magnitudes and very large and small ones."""
    values = torch.randn(models, ENTRIES, generator=torch.Generator().manual_seed(seed))
    values[:, ::7] = 0.0
    values[0, ::11] = -0.0
    values[-1, ::5] = -values[0, ::5]
    values[:, 3::101] *= 1e30
    values[:, 4::101] *= 1e-42
    return values


def bits(values: torch.Tensor) -> np.ndarray:
    return (values + 0.0).numpy().view(np.uint32)


@needs_compiler
@pytest.mark.parametrize("models", [1, 2, 5])
@pytest.mark.parametrize("elect", ["weighted", "unweighted", "count"])
@pytest.mark.parametrize("normalize", [True, False])
@torch.no_grad()
def test_a_vote_has_the_same_bits(fresh, models, elect, normalize):
    stack, weight = drawn(models), torch.linspace(0.3, 1.7, models, dtype=torch.float64)
    plain = votes._vote(stack, weight, elect, normalize)
    quick = votes._compiled_vote(stack, weight, elect, normalize)
    assert quick is not None
    np.testing.assert_array_equal(bits(quick), bits(plain))


@needs_compiler
@torch.no_grad()
def test_weighted_sums_and_thresholds_have_the_same_bits(fresh, monkeypatch):
    stack, weight = drawn(3), torch.tensor([0.7, -1.3, 0.1], dtype=torch.float64)
    bound = [0.5, 0.0, np.float32(np.nextafter(np.float32(0), np.float32(-1)))]
    quick = votes.weighted_total(stack, weight), votes.above(stack, bound)
    assert compiled._state["library"] is not None
    monkeypatch.setattr(compiled, "_state", {"library": None})
    plain = votes.weighted_total(stack, weight), votes.above(stack, bound)
    for one, other in zip(quick, plain, strict=True):
        np.testing.assert_array_equal(bits(one), bits(other))


@needs_compiler
@pytest.mark.parametrize("high", [1.2, np.inf, None])
def test_entries_between_two_bounds_are_found_alike(fresh, monkeypatch, high):
    patterns = np.abs(drawn(1)[0].numpy()).view(np.uint32)
    least = int(np.float32(1.1).view(np.uint32))
    most = int(np.iinfo(np.uint32).max) if high is None else int(np.float32(high).view(np.uint32))
    found = []
    for library in (compiled.kernels_for(patterns), None):
        monkeypatch.setattr(compiled, "_state", {"library": library})
        bracket = Bracket(0, 5, least, most)
        assert bracket.look(patterns) == len(bracket.inside[0])
        found.append((bracket.below, bracket.lows, bracket.highs, bracket.inside[0].tolist()))
    assert found[0] == found[1]


@needs_compiler
@pytest.mark.parametrize("method", METHODS)
def test_merges_have_the_same_bytes(fresh, monkeypatch, method):
    def model(seed: int) -> Memory:
        values = drawn(1, seed)[0][: 2**12 * 3].view(96, 128).bfloat16()
        finite = torch.nan_to_num(values, posinf=1.0, neginf=-1.0)
        return Memory({"model.layers.0.mlp.up_proj.weight": finite}, {})

    models = [model(1), model(2)]
    base = {} if method in ("linear", "swa") else {"base": model(0)}
    written = []
    for name, state in (("quick", {}), ("plain", {"library": None})):
        monkeypatch.setattr(compiled, "_state", state)
        write(merge(method, models, **base, **METHODS[method]), fresh / name)
        written.append((fresh / name / "model.safetensors").read_bytes())
    assert written[0] == written[1]


@needs_compiler
@pytest.mark.parametrize("method", ["linear", "ties"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.3e38])
def test_what_is_not_finite_is_left_to_torch(fresh, monkeypatch, method, value):
    """Also where only the result of two finite numbers is beyond what bfloat16 holds."""
    models = [Memory({"w": torch.full((64, 128), number).bfloat16()}, {}) for number in (value, 1.0, -1.0)]
    models[1] = Memory({"w": torch.full((64, 128), value if value < 1e39 else 1.0).bfloat16()}, {})
    base = {} if method == "linear" else {"base": models[2]}
    params = {"normalize": False} if method == "linear" else {"lambda_": 4.0}
    found = []
    for state in ({}, {"library": None}):
        monkeypatch.setattr(compiled, "_state", state)
        found.append(merge(method, models[:2], **base, **params)["w"])
    assert not found[0].isfinite().all()
    assert torch.equal(found[0].nan_to_num(7.0), found[1].nan_to_num(7.0))


@needs_compiler
def test_a_merge_inside_a_merge_is_not_rounded_in_between(fresh, monkeypatch):
    models = [Memory({"w": drawn(1, seed)[0][:ENTRIES].clamp(-9, 9).bfloat16()}, {}) for seed in range(3)]
    found = []
    for state in ({}, {"library": None}):
        monkeypatch.setattr(compiled, "_state", state)
        inner = merge("linear", models[:2], weight=[0.4, 0.7])
        found.append(merge("linear", [inner, models[2]], weight=[0.9, 0.3])["w"])
    assert torch.equal(*found)


def test_small_work_compiles_nothing(fresh, monkeypatch):
    monkeypatch.setattr(compiled, "WORTH", 2**25)
    with torch.no_grad():
        assert compiled.kernels(drawn(2)) is None
    assert not (fresh / "cache").exists()


def test_gradients_are_torchs(fresh):
    stack = drawn(2).requires_grad_()
    assert compiled.kernels(stack) is None
    votes.weighted_total(stack, torch.ones(2)).sum().backward()
    assert stack.grad is not None


def test_without_a_compiler_torch_computes(fresh, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with torch.no_grad(), caplog.at_level("INFO"):
        assert compiled.kernels(drawn(2)) is None
    assert "no C compiler" in caplog.text


def test_a_compiler_that_fails_is_told(fresh, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    with torch.no_grad():
        assert compiled.kernels(drawn(2)) is None
    assert "cannot be compiled" in caplog.text


@needs_compiler
def test_a_library_that_others_may_write_is_made_anew(fresh):
    with torch.no_grad():
        compiled.kernels(drawn(2))
    (file,) = (fresh / "cache" / "consort").glob("kernels-*.so")
    file.unlink()
    file.write_bytes(b"not ours")
    os.chmod(file, 0o777)
    compiled._state.clear()
    with torch.no_grad():
        assert compiled.kernels(drawn(2)) is not None
    assert file.read_bytes() != b"not ours"


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@torch.no_grad()
def test_memory_is_floats_where_another_dtype_and_device_are_the_default(fresh, dtype):
    """As they are while transformers loads a model that is merged as it is read."""
    models = [Memory({"w": drawn(1, seed)[0][:ENTRIES].clamp(-9, 9).bfloat16()}, {}) for seed in range(3)]
    merges = [
        merge("ties", models[:2], base=models[2]),
        merge("dare_ties", models[:2], base=models[2], density=0.5),
        merge("linear", [merge("linear", models[:2]), models[2]]),
    ]
    wanted = [one["w"] for one in merges]
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        stack = drawn(2).float()
        assert compiled.weighted_total(compiled.kernels(stack), stack, torch.ones(2)).dtype == torch.float32
        for one, right in zip(merges, wanted, strict=True):
            assert torch.equal(one["w"], right)
        with torch.device("meta"):
            library = compiled.kernels(stack)
            assert compiled.weighted_total(library, stack, torch.ones(2, device="cpu")).device.type == "cpu"
    finally:
        torch.set_default_dtype(before)
