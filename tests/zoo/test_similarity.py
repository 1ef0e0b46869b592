"""Similarity of models: values, streaming, families, the cache."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter, Incompatible, OutputExists
from consort.weights.checkpoint import Memory
from consort.zoo import architecture_families, cluster, similarities

NAMES = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight")


def model(name, seed=0, near=None, noise=0.05, size=64, scale=1.0):
    """A model of random matrices, or one near another."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(size, size), (size, size), (size,)]
    drawn = {key: torch.randn(shape, generator=generator) for key, shape in zip(NAMES, shapes, strict=True)}
    tensors = drawn if near is None else {key: near[key] + noise * drawn[key] for key in NAMES}
    return Memory({key: scale * t for key, t in tensors.items()}, {"model_type": "llama"}, name=name)


A = model("a")
ZOO = [A, model("a1", 1, near=A), model("a2", 2, near=A), model("b", 3), model("c", 4, size=32)]


def test_cosines_are_those_of_the_paper():
    found = similarities([*ZOO, model("3a", scale=3.0)])
    assert found.weights[0][1] == pytest.approx(0.9987, abs=5e-4)
    assert abs(found.weights[0][3]) < 0.1
    assert found.weights[0][0] == 1
    assert found.weights[0][5] == pytest.approx(1, abs=1e-6)
    assert found.weights[0][4] is None
    assert found.families == ((0, 1, 2, 3, 5), (4,))


def test_by_hand():
    tensors = [{NAMES[0]: torch.tensor(rows)} for rows in ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]])]
    a, b = (Memory(t, {"model_type": "llama"}, name=n) for t, n in zip(tensors, "ab", strict=True))
    found = similarities([a, b], base=a)
    assert found.weights[0][1] == pytest.approx(2**-0.5)
    assert found.deltas == ((None, None), (None, 1.0))
    assert found.norms == pytest.approx((0, 2**0.5))


def test_deltas_are_from_the_base_or_from_the_mean():
    base, up = model("base"), model("other", 5)
    twice = Memory({k: base[k] + 2 * up[k] for k in NAMES}, base.config, name="twice")
    once = Memory({k: base[k] + up[k] for k in NAMES}, base.config, name="once")
    assert similarities([once, twice], base=base).deltas[0][1] == pytest.approx(1, abs=1e-5)
    assert similarities([once, twice]).deltas[0][1] == pytest.approx(-1, abs=1e-4)


def test_mlp_matrices_alone():
    other = Memory({k: A[k] if "mlp" in k else -A[k] for k in NAMES}, A.config, name="x")
    assert similarities([A, other]).weights[0][1] == pytest.approx(0, abs=1e-6)
    assert similarities([A, other], parts="mlp").weights[0][1] == pytest.approx(1, abs=1e-6)


def test_no_more_than_one_pair_of_matrices_is_in_memory(monkeypatch):
    sizes, empty = [], torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, **given: sizes.append(shape) or empty(*shape, **given))
    similarities(ZOO[:4])
    assert sizes
    assert max(torch.Size(shape).numel() for shape in sizes) <= 2 * 64 * 64


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]])
@pytest.mark.parametrize("method", ["leader", "components"])
def test_clusters_do_not_depend_on_the_order(order, method):
    zoo = [ZOO[i] for i in order]
    found = cluster(similarities(zoo).weights, names=[m.name for m in zoo], method=method)
    assert {frozenset(zoo[i].name for i in one.members) for one in found} == {
        frozenset({"a", "a1", "a2"}),
        frozenset({"b"}),
        frozenset({"c"}),
    }


def test_the_cache_is_resumed_and_read_nothing_again(tmp_path, monkeypatch):
    first = similarities(ZOO, cache=tmp_path / "run")
    lines = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    (tmp_path / "run" / "journal.jsonl").write_text("\n".join(lines[:2]) + "\n")
    assert similarities(ZOO, cache=tmp_path / "run") == first
    monkeypatch.setattr("consort.zoo.similarity._slabs", lambda *given: pytest.fail("a matrix was read"))
    assert similarities(ZOO, cache=tmp_path / "run") == first
    with pytest.raises(OutputExists):
        similarities(ZOO[:3], cache=tmp_path / "run")


def test_wrong_inputs_are_named():
    with pytest.raises(BadParameter, match="no models"):
        similarities([])
    with pytest.raises(BadParameter, match="parts"):
        similarities(ZOO, parts="attention")
    with pytest.raises(Incompatible, match="another architecture"):
        similarities(ZOO[:4], base=ZOO[4])


def test_configurations_part_families():
    other = Memory({k: A[k] for k in NAMES}, {"model_type": "llama", "rms_norm_eps": 1e-2}, name="x")
    assert architecture_families([A, other, ZOO[1]]) == [[0, 2], [1]]
