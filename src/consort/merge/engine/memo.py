"""A small cache that computes each value once, however many threads ask for it at the same time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock, get_ident
from typing import Generic, TypeVar

V = TypeVar("V")


class Memo(Generic[V]):
    """Keeps the `size` values asked for last, and the last one of every thread: more where there are more threads.

    A computation that fails is not kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = Lock()
        self._values: OrderedDict[Hashable, Future[V]] = OrderedDict()
        self._latest: dict[int, Hashable] = {}

    def __call__(self, key: Hashable, compute: Callable[[], V]) -> V:
        with self._lock:
            found = self._values.get(key)
            mine = found is None
            future = self._values.setdefault(key, Future()) if found is None else found
            self._values.move_to_end(key)
            self._latest[get_ident()] = key
            if mine and len(self._values) > self.size:
                self._forget()
        if mine:
            self._fill(key, future, compute)
        return future.result()

    def _forget(self) -> None:
        """Drop the oldest values beyond `size` that no thread is at."""
        used = set(self._latest.values())
        free = [key for key in self._values if key not in used]
        for key in free[: len(self._values) - self.size]:
            del self._values[key]

    def _fill(self, key: Hashable, future: Future[V], compute: Callable[[], V]) -> None:
        try:
            future.set_result(compute())
        except BaseException as error:
            with self._lock:
                self._values.pop(key, None)
            future.set_exception(error)
