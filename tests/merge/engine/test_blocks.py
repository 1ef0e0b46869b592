"""Blocks, and the cache of what is computed from them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.merge.engine.blocks import BLOCK, block_length, ranges
from consort.merge.engine.memo import Memo

SHAPES = st.sampled_from([(3 * BLOCK + 1,), (5, BLOCK // 2 - 3), (2, BLOCK + 1), (7, 11, 13), (), (4, 1)])


@given(SHAPES, st.sampled_from(["entry", "row", "tensor"]), st.data())
def test_ranges_cover_what_is_asked_in_whole_grains_of_one_block_each(shape, grain, data):
    n = prod(shape)
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    found = list(ranges(shape, grain, start, stop))
    step = {"entry": 1, "row": shape[-1] if shape else 1, "tensor": n}[grain]
    assert found[0][0] <= start < found[0][1] and found[-1][0] < stop <= found[-1][1]
    assert [first for first, _ in found[1:]] == [last for _, last in found[:-1]]
    length = block_length(shape, grain)
    for first, last in found:
        assert first % step == 0 and last % step == 0 and first // length == (last - 1) // length


def test_a_block_has_at_least_one_row():
    assert block_length((2, BLOCK + 1), "row") == BLOCK + 1
    assert block_length((9, 1000), "row") == 262_000


def test_once_computes_once_however_many_ask():
    calls, gate = [], threading.Barrier(4)
    once: Memo[int] = Memo(2)

    def ask(_):
        gate.wait()
        return once("key", lambda: calls.append(1) or 5)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [5] * 4
    assert len(calls) == 1


def test_once_forgets_the_oldest_and_failures():
    once: Memo[int] = Memo(1)
    with pytest.raises(ZeroDivisionError):
        once("a", lambda: 1 // 0)
    assert [once("a", lambda: 1), once("a", lambda: 2), once("b", lambda: 3), once("a", lambda: 4)] == [1, 1, 3, 4]
