"""Exact order statistics, Gram matrices and sums over blocks."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from consort.merge.arithmetic import reductions as statistics
from consort.merge.arithmetic.reductions import gram, l1_factors, order_statistics, row_gram, sums, trimming_thresholds
from consort.merge.engine.blocks import BLOCK, InMemory


def blocks(*rows, dtype=torch.float32):
    return InMemory(torch.stack([torch.as_tensor(r, dtype=dtype) for r in rows]), None, "entry")


def numbers(kind, n, seed):
    drawn = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    kinds = {"normal": drawn, "equal": drawn[:1].expand(n), "zero": drawn * 0, "denormal": drawn * 1e-41}
    kinds |= {
        "two": drawn.sign() * (1 + (drawn > 1)),
        "bf16": drawn.bfloat16().float(),
        "wide": drawn * 10 ** (9 * drawn),
    }
    return kinds[kind]


@settings(max_examples=200)
@given(
    st.sampled_from(["normal", "equal", "zero", "denormal", "two", "bf16", "wide"]),
    st.integers(1, 500),
    st.integers(0, 10**6),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0, statistics.SMALL]),
)
def test_ranks_are_those_of_a_full_sort(kind, n, seed, dtype, small):
    values = numbers(kind, n, seed).to(dtype)
    ordered = values.abs().sort().values.numpy()
    with mock.patch.object(statistics, "SMALL", small):
        found = order_statistics(
            blocks(values, -values, dtype=dtype), lambda b: b.stack, [[0, n // 3, n - 1], [n // 2]]
        )
    assert found[0].tolist() == ordered[[0, n // 3, n - 1]].tolist()
    assert found[1].tolist() == [ordered[n // 2]]


def test_ranks_over_several_blocks():
    values = numbers("normal", 2 * BLOCK + 7, 0)
    found = order_statistics(blocks(values), lambda b: b.stack, [[12_345]])
    assert found[0][0] == values.abs().sort().values[12_345]


def test_thresholds_keep_all_none_or_at_least_one():
    values = blocks([3.0, -1, 2], [3.0, -1, 2], [3.0, -1, 2], [3.0, -1, 2])
    assert trimming_thresholds(values, [1.0, 0.0, 0.01, 0.67]).tolist() == [0, np.inf, 3, 2]


def test_gram_and_sums():
    a, b = torch.randn(2, BLOCK + 9, generator=torch.Generator().manual_seed(1)).double()
    stack = blocks(a, b, dtype=torch.float64)
    assert gram(stack) == pytest.approx(np.array([[a @ a, a @ b], [a @ b, b @ b]]), rel=1e-12)
    assert sums(stack, lambda block: block.stack) == pytest.approx([float(a.sum()), float(b.sum())], rel=1e-9)
    assert row_gram(torch.tensor([[[1.0, 2], [3, 4]], [[1, 0], [0, 2]]]))[0].tolist() == [[5, 25], [1, 8]]


def test_l1_factors_are_1_where_nothing_is_kept_or_there():
    factors = l1_factors(
        blocks([3.0, 1], [2.0, 2], [0.0, 0]), lambda b: b.stack * torch.tensor([[0, 1], [0, 0], [1, 1]])
    )
    assert factors.tolist() == [4, 1, 1]
