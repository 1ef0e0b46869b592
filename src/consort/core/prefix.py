"""How far two sequences are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def shared_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many items two sequences begin with alike: 2 of `[1, 2, 3]` and `[1, 2, 4]`."""
    shortest = min(len(a), len(b))
    if list(a[:shortest]) == list(b[:shortest]):  # the usual case, at the speed of one comparison
        return shortest
    return next(i for i in range(shortest) if a[i] != b[i])
