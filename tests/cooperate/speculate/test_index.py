"""The indices against a search through the whole text."""

from __future__ import annotations

import random
from collections import Counter

from consort.cooperate.speculate.drafters.index import CountIndex, SuffixIndex


def searched(tokens: list[int], orders: tuple[int, ...]) -> int | None:
    """Where the longest ending stood most recently, by brute force."""
    for n in orders:
        for end in range(len(tokens) - 1, n - 1, -1):
            if tokens[end - n : end] == tokens[-n:] and len(tokens) >= n:
                return end
    return None


def counted(tokens: list[int], ending: list[int], orders: tuple[int, ...]) -> int | None:
    """The most frequent successor of the longest known ending, the most recent of equal ones, by brute force."""
    for n in orders:
        if len(ending) < n - 1:
            continue
        key, counts, latest = ending[len(ending) - n + 1 :], Counter[int](), {}
        for at in range(n - 1, len(tokens)):
            if tokens[at - n + 1 : at] == key:
                counts[tokens[at]] += 1
                latest[tokens[at]] = at
        if counts:
            return max(counts, key=lambda t: (counts[t], latest[t]))
    return None


def test_both_equal_a_search_on_10_000_random_texts() -> None:
    rng = random.Random(0)
    for _ in range(10_000):
        text = [rng.randrange(5) for _ in range(rng.randint(1, 24))]
        suffixes, counts = SuffixIndex((3, 2, 1)), CountIndex((3, 2))
        cut = rng.randint(0, len(text))
        for index in (suffixes, counts):
            index.extend(text[:cut])
            index.extend(text[cut:])
        assert suffixes.last() == searched(text, (3, 2, 1))
        drafted = counts.continuation(3)
        for i in range(3):
            wanted = counted(text, text + drafted[:i], (3, 2))
            assert wanted == (drafted[i] if i < len(drafted) else None)
            if wanted is None:
                break


def test_a_draft_goes_on_with_itself() -> None:
    index = SuffixIndex((2, 1))
    index.extend([7, 8, 9, 7, 8])
    assert index.continuation(7) == [9, 7, 8, 9, 7, 8, 9]
    assert SuffixIndex().continuation(3) == []


def test_querying_changes_nothing_and_memory_is_linear() -> None:
    rng, sizes = random.Random(1), []
    for length in (1000, 2000, 4000):
        index = SuffixIndex((3, 2, 1))
        index.extend([rng.randrange(50) for _ in range(length)])
        before = [dict(found) for found in index._ends.values()]
        index.continuation(10)
        assert [dict(found) for found in index._ends.values()] == before
        sizes.append(sum(len(ends) for found in index._ends.values() for ends in found.values()))
    assert sizes[2] <= 4000 * 3
    assert all(len(ends) <= 4 for found in index._ends.values() for ends in found.values())


def steps(length: int) -> int:
    """Interpreted lines that a query takes: a count that no busy machine can change."""
    import sys

    index, counted_lines = SuffixIndex((3, 2, 1)), 0
    index.extend([i % 97 for i in range(length)])

    def tracer(*_: object) -> object:
        nonlocal counted_lines
        counted_lines += 1
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)  # type: ignore[arg-type]
    try:
        index.continuation(10)
    finally:
        sys.settrace(before)
    return counted_lines


def test_a_query_takes_as_long_after_32_000_tokens_as_after_1000() -> None:
    assert steps(32_000) == steps(1_000)
