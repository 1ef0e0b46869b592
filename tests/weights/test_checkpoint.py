from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadCheckpoint
from consort.weights.checkpoint import Checkpoint, Memory, Spec, leaves, ranges, round_into, whole
from consort.weights.views.basic import Cast, Delta


def test_a_memory_checkpoint_reads_as_what_it_holds(memory: Memory) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    assert isinstance(memory, Checkpoint)
    assert memory.spec(name) == Spec((4, 4), torch.float32)
    assert (memory.spec(name).numel, memory.spec(name).nbytes) == (16, 64)
    out = torch.empty(3, dtype=torch.bfloat16)
    memory.read_into(name, 5, 8, out)
    assert torch.equal(out, memory[name].view(-1)[5:8].to(torch.bfloat16))
    assert torch.equal(whole(memory, name), memory[name])


def test_a_scalar_and_an_empty_tensor_are_whole() -> None:
    ckpt = Memory({"s": torch.tensor(3.0), "e": torch.empty(0, 4)}, {})
    assert whole(ckpt, "s") == 3.0 and whole(ckpt, "e").shape == (0, 4)


def test_an_unknown_name_is_an_error_with_the_nearest_one(memory: Memory) -> None:
    with pytest.raises(BadCheckpoint, match="no such tensor") as caught:
        memory.spec("model.nrom.weight")
    assert caught.value.field == "model.nrom.weight" and "model.norm.weight" in (caught.value.hint or "")


def test_leaves_are_each_once_in_order(memory: Memory) -> None:
    names = memory.keys()
    tensors = {name: memory[name] for name in names}
    other = Memory(tensors, {})
    assert leaves(Delta(Cast(memory, torch.float16), Delta(other, memory).base)) == [memory]
    assert leaves(Delta(other, memory)) == [other, memory]


@given(st.integers(0, 100), st.integers(1, 30))
def test_ranges_tile_the_whole(total: int, size: int) -> None:
    assert [i for start, stop in ranges(total, size) for i in range(start, stop)] == list(range(total))


def test_float64_is_rounded_once_to_bfloat16() -> None:
    just_above_half = torch.tensor([1 + 2**-8 + 2**-40], dtype=torch.float64)  # by way of float32: a tie, down to 1
    out = torch.empty(1, dtype=torch.bfloat16)
    round_into(just_above_half, out)
    assert out.item() == 1 + 2**-7


@given(st.lists(st.floats(allow_nan=False, min_value=-65519, max_value=65519), min_size=1))
def test_float64_to_float16_agrees_with_numpy_which_rounds_once(values: list[float]) -> None:
    out = torch.empty(len(values), dtype=torch.float16)
    round_into(torch.tensor(values, dtype=torch.float64), out)
    assert np.array_equal(out.numpy(), np.array(values, dtype=np.float64).astype(np.float16))


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-3e38, max_value=3e38))
def test_no_bfloat16_is_nearer_than_the_rounded(value: float) -> None:
    out = torch.empty(1, dtype=torch.bfloat16)
    round_into(torch.tensor([value], dtype=torch.float64), out)
    bits = out.view(torch.int16)
    near = [(bits + step).view(torch.bfloat16) for step in (-1, 1)]
    distances = [abs(Fraction(value) - Fraction(x.item())) for x in (out, *near) if x.isfinite()]
    assert distances[0] == min(distances)


def test_rounding_keeps_nan_and_infinity() -> None:
    out = torch.empty(3, dtype=torch.float16)
    round_into(torch.tensor([float("nan"), float("inf"), -1e300], dtype=torch.float64), out)
    assert out[0].isnan() and out[1] == float("inf") and out[2] == float("-inf")
