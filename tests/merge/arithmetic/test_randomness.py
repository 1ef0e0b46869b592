"""Numbers that belong to entries."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from consort.merge.arithmetic.randomness import stream_key, uniform

KEY = stream_key(0, "dare_linear", "w", 0)


@given(st.integers(0, 10**6), st.integers(1, 100), st.integers(0, 50), st.integers(0, 50))
def test_a_range_is_a_part_of_any_larger_range(start, length, before, after):
    first = max(0, start - before)
    large = uniform(KEY, first, start + length + after)
    assert uniform(KEY, start, start + length).equal(large[start - first : start - first + length])


def philox(counter, key):
    """Philox4x64-10 as published: four words."""
    c, k = [counter, 0, 0, 0], list(key)
    for _ in range(10):
        one, two = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [two >> 64 ^ c[1] ^ k[0], two & 2**64 - 1, one >> 64 ^ c[3] ^ k[1], one & 2**64 - 1]
        k = [(k[0] + 0x9E3779B97F4A7C15) % 2**64, (k[1] + 0xBB67AE8584CAA73B) % 2**64]
    return c


def test_the_stream_is_philox_in_counter_mode():
    halves = [word >> shift & 0xFFFFFFFF for word in philox(5 + 1, KEY) for shift in (0, 32)]  # numpy counts up first
    assert uniform(KEY, 40, 48).tolist() == [(half >> 8) * 2.0**-24 for half in halves]


def test_golden_numbers():
    assert stream_key(0, "dare_linear", "w", 0) == (3819684614117552781, 12311256771491961490)
    assert (uniform(KEY, 7, 10) * 2**24).tolist() == [9753004.0, 10667288.0, 4896962.0]


def test_they_are_uniform():
    numbers = uniform(KEY, 3, 10**6 + 3).double()
    assert float(numbers.min()) >= 0 and float(numbers.max()) < 1
    assert abs(float(numbers.mean()) - 0.5) < 4 / (12 * 10**6) ** 0.5
    counts = torch.histc(numbers, 256, 0, 1)
    assert float(((counts - 10**6 / 256) ** 2 / (10**6 / 256)).sum()) < 255 + 5 * (2 * 255) ** 0.5


def test_every_part_of_the_key_counts():
    keys = {
        stream_key(*k)
        for k in [(0, "m", "t", 0), (1, "m", "t", 0), (0, "n", "t", 0), (0, "m", "u", 0), (0, "m", "t", 1)]
    }
    assert len(keys) == 5 and stream_key(-1, "m", "naïve", 0) != stream_key(1, "m", "naïve", 0)
