"""What followed a sequence of tokens before: two indices that grow with a text and answer in constant time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

_KEPT = 4
"""Latest occurrences kept of each sequence."""


class SuffixIndex:
    """Where the last n tokens of a text stood before, for n in `orders` (largest first).

    A sequence is entered when its successor is known, so the end of the text never finds itself. Append-only.
    """

    def __init__(self, orders: Sequence[int] = (3, 2, 1)) -> None:
        self.orders = sorted(orders, reverse=True)
        self.tokens: list[int] = []
        self._ends: dict[int, dict[tuple[int, ...], deque[int]]] = {n: {} for n in self.orders}

    def extend(self, tokens: Sequence[int]) -> None:
        """Read tokens on, and enter the sequences that end before each."""
        for token in tokens:
            end = len(self.tokens) - 1
            for n, found in self._ends.items():
                if end >= n - 1:
                    found.setdefault(tuple(self.tokens[end - n + 1 :]), deque(maxlen=_KEPT)).append(end)
            self.tokens.append(token)

    def last(self) -> int | None:
        """The position before which the longest known ending stood most recently, or None."""
        for n in self.orders:
            ends = self._ends[n].get(tuple(self.tokens[-n:])) if len(self.tokens) >= n else None
            if ends:
                return ends[-1] + 1
        return None

    def continuation(self, most: int) -> list[int]:
        """Up to `most` tokens that followed there; past the end of the text the draft goes on with itself."""
        at = self.last()
        if at is None:
            return []
        known, size = self.tokens, len(self.tokens)
        drafted: list[int] = []
        for i in range(at, at + most):
            drafted.append(known[i] if i < size else drafted[i - size])
        return drafted


class CountIndex:
    """The most frequent successor of the last n - 1 tokens of a text, for n in `orders`; ties go to the most recent."""

    def __init__(self, orders: Sequence[int] = (3, 2)) -> None:
        self.orders = sorted(orders, reverse=True)
        self.tokens: list[int] = []
        self._counts: dict[tuple[int, ...], dict[int, int]] = {}
        self._best: dict[tuple[int, ...], int] = {}

    def extend(self, tokens: Sequence[int]) -> None:
        """Read tokens on, and count each as the successor of those before it."""
        for token in tokens:
            for n in self.orders:
                if len(self.tokens) >= n - 1:
                    self._count(tuple(self.tokens[len(self.tokens) - n + 1 :]), token)
            self.tokens.append(token)

    def _count(self, context: tuple[int, ...], token: int) -> None:
        counts = self._counts.setdefault(context, {})
        counts[token] = counts.get(token, 0) + 1
        if counts[token] >= counts.get(self._best.get(context, token), 0):
            self._best[context] = token

    def continuation(self, most: int) -> list[int]:
        """Up to `most` likely successors, each after the ones before; the virtual ending is not counted."""
        ending = self.tokens[-max(self.orders, default=1) :]
        drafted: list[int] = []
        while len(drafted) < most:
            after = [*ending, *drafted]
            keys = (tuple(after[len(after) - n + 1 :]) for n in self.orders if len(after) >= n - 1)
            token = next((self._best[key] for key in keys if key in self._best), None)
            if token is None:
                break
            drafted.append(token)
        return drafted
