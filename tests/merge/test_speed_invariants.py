"""What makes merging quick must change no bit: ranks from a sample, threads on tensors of their own, reused memory."""

from __future__ import annotations

import cProfile
import pstats
import threading
from unittest import mock

import numpy as np
import pytest
import torch

from consort.merge import merge
from consort.merge.arithmetic import reductions as statistics
from consort.merge.arithmetic.order_statistics import Bracket, bracketed
from consort.merge.arithmetic.reductions import order_statistics
from consort.merge.engine.blocks import BLOCK, InMemory, sampled_parts, spread
from consort.merge.engine.memo import Memo
from consort.weights.checkpoint import Memory
from consort.weights.disk.folder import open_folder
from consort.weights.disk.writer import write


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(kind, n, seed):
    drawn = normal(seed, n)
    halves = torch.cat((drawn[: n // 2] * 1e-3, drawn[n // 2 :]))
    return {
        "normal": drawn,
        "equal": drawn[:1].expand(n),
        "zero": drawn * 0,
        "denormal": drawn * 1e-41,
        "two": drawn.sign() * (1 + (drawn > 1)),
        "bf16": (drawn.bfloat16() - (drawn * 1.001).bfloat16()).float(),
        "halves": halves,
        "nan": torch.where(drawn > 1, torch.nan, drawn),
    }[kind]


KINDS = ["normal", "equal", "zero", "denormal", "two", "bf16", "halves", "nan"]


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_of_200_tensors_are_those_of_a_full_sort(kind):
    """Spec 5.8: 25 tensors of each kind, by sample and by histogram."""
    for seed in range(25):
        n = 5_000 + 997 * seed
        values = made(kind, n, seed)
        ordered = np.sort(values.abs().numpy())
        ranks = [0, n // 100, n // 2, n - n // 5, n - 1]
        blocks = InMemory(values[None].contiguous(), None, "entry")
        for large in (1, 2**60):
            with mock.patch.object(statistics, "LARGE", large):
                found = order_statistics(blocks, lambda block: block.stack, [ranks])[0]
            assert np.array_equal(found, ordered[ranks], equal_nan=True)


def test_a_misleading_sample_costs_a_pass_and_no_exactness():
    n = 2**20
    values = normal(0, n)
    for start, stop in spread((n,), "entry", sampled_parts(n)):
        values[start:stop] *= 1e-6
    blocks, rank = InMemory(values[None], None, "entry"), n - n // 5

    def patterns(block):
        return block.stack.abs().numpy().view(np.uint32)

    assert bracketed(blocks, patterns, [(0, rank)]) is None
    found = order_statistics(blocks, lambda block: block.stack, [[rank]])
    assert found[0][0] == values.abs().sort().values[rank]


def test_a_bracket_whose_ends_are_equal_counts_them_once():
    bracket = Bracket(0, 3, 7, 7)
    bracket.look(np.array([7, 7, 9, 7, 8], np.uint32))
    assert bracket.found() is None
    bracket.rank = 2
    assert bracket.found() == 7


class Counting(Memory):
    """Knows how many entries were read."""

    entries = 0

    def read_into(self, name, start, stop, out):
        self.entries += stop - start
        super().read_into(name, start, stop, out)


def test_ties_reads_a_large_tensor_twice():
    n = 8 * BLOCK
    model = Counting({"w": normal(0, n).bfloat16()}, {})
    merge("ties", [model], base=Memory({"w": torch.zeros(n)}, {}))["w"]
    assert 2 * n <= model.entries < 2.2 * n


@pytest.mark.parametrize("name", ["linear", "ties", "sce", "dare_ties", "model_stock", "della", "slerp"])
def test_threads_chunks_and_shards_change_no_bit(name, tmp_path, monkeypatch):
    """Spec 5.9."""
    shapes = {"long": (4 * BLOCK + 5,), "rows": (300, 1000), "small": (3, 4), "one": (1,)}
    models = [Memory({k: normal(i, *s).bfloat16() for k, s in shapes.items()}, {}) for i in range(3)]
    params = {"t": 0.3} if name == "slerp" else {}
    merged = merge(name, models[: 1 if name == "slerp" else 2], base=models[2], **params)
    expected = {key: merged[key] for key in merged.keys()}
    for threads, chunk, shard in ((1, 2**18, 5 * 10**9), (2, 2**20, 10**6), (7, 2**18, 10**6)):
        monkeypatch.setattr("consort.weights.disk.stream.CHUNK", chunk)
        out = tmp_path / f"{threads}-{chunk}"
        write(merged, out, threads=threads, shard_bytes=shard)
        with open_folder(out) as folder:
            assert all(folder[key].equal(expected[key]) for key in expected)


SMOOTH = {"linear": {}, "task_arithmetic": {"weight": 0.6}, "model_stock": {}, "karcher": {}, "multislerp": {}}
SMOOTH |= {"slerp": {"t": 0.3}, "nuslerp": {}, "nearswap": {"t": 0.01}, "ties": {}, "sce": {}, "breadcrumbs": {}}


@pytest.mark.parametrize("name", SMOOTH)
def test_bf16_is_within_one_unit_of_the_float64_reference(name):
    """Spec 5.14; away from thresholds and from sums of zero, where one rounding decides between two answers."""
    base = normal(0, 300, 400) * 0.02
    tensors = [base.bfloat16(), *((base + 0.002 * normal(i, 300, 400)).bfloat16() for i in (1, 2))]
    count = 1 if name in ("slerp", "nearswap") else 2

    def merged(dtype):
        under, *models = (Memory({"w": t.to(dtype)}, {}) for t in tensors)
        return merge(name, models[:count], base=under, dtype=dtype, **SMOOTH[name])["w"]

    reference, found = merged(torch.float64), merged(torch.bfloat16).double()
    exponent = torch.frexp(reference)[1]
    unit = torch.ldexp(torch.ones_like(reference), exponent - 8)
    off = (found - reference).abs() > unit
    deltas = torch.stack([t.double() - tensors[0].double() for t in tensors[1:]])
    bounds = deltas.abs().flatten(1).quantile(torch.tensor([0.09, 0.8, 0.99], dtype=torch.float64), dim=1)
    near = ((deltas.abs()[None] - bounds[:, :, None, None]).abs() < 1e-4).any(0).any(0)
    balanced = deltas.sum(0).abs() < 1e-6
    assert not (off & ~near & ~balanced).any() and float(near.float().mean()) < 0.5


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties", "della_linear", "della"])
def test_the_kept_share_is_the_density(name):
    """Spec 5.7, 10^6 entries: equal deltas, so that what is dropped is where the base stays."""
    n, density = 10**6, 0.3
    merged = merge(name, [Memory({"w": torch.ones(1000, 1000)}, {})], base=Memory({"w": torch.zeros(1000, 1000)}, {}),
                   density=density)  # fmt: skip
    kept = int((merged["w"] != 0).sum())
    assert abs(kept - density * n) < 4 * (density * (1 - density) * n) ** 0.5


@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
def test_over_200_seeds_the_mean_is_the_full_delta(name):
    """Spec 5.7, `rescale: prob`: unbiased in each entry and in all together."""
    delta = normal(3, 8, 250)
    model, base = Memory({"w": delta}, {}), Memory({"w": torch.zeros(8, 250)}, {})
    draws = torch.stack([merge(name, [model], base=base, seed=seed)["w"] for seed in range(200)]).double()
    error = draws.mean(0) - delta.double()
    deviation = draws.std(0) / 200**0.5
    score = error / deviation
    assert float((score.abs() > 4).float().mean()) < 0.002  # 6e-5 expected of normal numbers
    assert abs(float((error * delta.sign()).sum())) < 4 * float(deviation.square().sum()) ** 0.5


def test_a_thread_that_waits_for_one_tensor_does_not_stop_another(tmp_path):
    """The first thread reads `a` only once `b` was read, which therefore another thread must have begun."""
    other = threading.Event()

    class Waiting(Memory):
        def read_into(self, name, start, stop, out):
            other.set() if name == "b" else other.wait(20)
            assert other.is_set()
            super().read_into(name, start, stop, out)

    write(Waiting({"a": torch.ones(3 * 2**20), "b": torch.ones(5)}, {}), tmp_path / "out", threads=2)


def test_a_thread_keeps_its_value_while_others_ask_for_many():
    once, calls = Memo(1), []
    held, done = threading.Event(), threading.Event()

    def holder():
        once("mine", lambda: calls.append("mine"))
        held.set()
        done.wait(20)
        once("mine", lambda: calls.append("mine"))

    thread = threading.Thread(target=holder)
    thread.start()
    held.wait(20)
    for key in range(5):
        once(key, lambda: None)
    done.set()
    thread.join()
    assert calls == ["mine"] and len(once._values) == 2


def test_work_grows_linearly_with_the_number_of_tensors(tmp_path):
    """Counted in calls, not in seconds."""

    def calls(count):
        names = [f"model.layers.{i // 10}.mlp.experts.{i % 10}.down_proj.weight" for i in range(count)]
        models = [Memory({name: torch.ones(2, 2) for name in names}, {}) for _ in range(3)]
        profile = cProfile.Profile()
        profile.enable()
        write(merge("ties", models[:2], base=models[2]), tmp_path / str(count), threads=1)
        profile.disable()
        return pstats.Stats(profile).total_calls

    calls(10)
    assert calls(800) < 2.15 * calls(400)
