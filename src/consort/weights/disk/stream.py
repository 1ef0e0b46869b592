"""Tensors computed chunk by chunk on several threads and written where they belong; the bytes depend on neither."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from consort.core.files import machine_errors
from consort.core.progress import Advance
from consort.weights.checkpoint import CHUNK, Checkpoint, bytes_of, parts, ranges, read_many
from consort.weights.disk.layout import Place
from consort.weights.disk.small_tensors import SMALL, Batch, batches, rows
from consort.weights.disk.whole_folder import Disk, Partial

SYNC_BYTES = 1 << 28
"""Written between two syncs; a kill loses at most this much and the tensors that are under way."""

KEPT_BYTES = 31 << 20
"""Below the size from which glibc learns nothing (32 MiB)."""


@dataclass(slots=True)
class _Tensor:
    """A tensor under way: pieces not yet given to a thread, how many are not yet written, non-finite entries so far."""

    number: int
    place: Place
    pieces: Iterator[tuple[int, int]]
    missing: int
    nonfinite: int = 0


@dataclass
class Stream:
    """Moves the tensors `places` of `ckpt` into open files. Raises the error of the first chunk that fails.

    Where `stop_at_nonfinite`, no tensor is begun after one with NaN or infinity is met. Either way the first faulty
    tensor that is met, in order of size, is the same whatever the threads.
    """

    ckpt: Checkpoint
    places: Sequence[Place]
    handles: Sequence[int]
    partial: Partial
    disk: Disk
    stop_at_nonfinite: bool
    advance: Advance
    nonfinite: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._order = sorted(self.places, key=lambda place: -place.spec.numel)
        large = [place for place in self._order if place.spec.numel >= SMALL]
        small = batches(self.places, len(large))
        self._waiting, self._small = enumerate(large), iter(small)
        self._batching = threading.Lock()
        self._open: dict[str, _Tensor] = {}
        self._done: dict[str, int] = {}
        self._errors: dict[tuple[int, int], BaseException] = {}
        self._unsynced = 0
        self._stop, self._alone = False, True
        self._syncing: threading.Thread | None = None
        self._lock, self._sync_lock = threading.Lock(), threading.Lock()

    def run(self, threads: int) -> None:
        """All of it. `nonfinite` then has the count for each tensor that has any, in order of size."""
        keep_freed_memory()
        self._alone = threads == 1
        with one_torch_thread():
            workers = [threading.Thread(target=self._work, name=f"write-{n}") for n in range(threads - 1)]
            try:
                for worker in workers:
                    worker.start()
                self._work()
                self._wait(workers)
            finally:
                self._stop = True  # of an interruption; else all is done
                self._wait(workers)
        if self._errors:
            raise min(self._errors.items(), key=lambda item: (isinstance(item[1], Exception), item[0]))[1]
        self._sync()
        found = self.nonfinite
        self.nonfinite = {place.name: found[place.name] for place in self._order if place.name in found}

    def _wait(self, workers: Sequence[threading.Thread]) -> None:
        for thread in (*workers, self._syncing):
            if thread is not None and thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        buffers: dict[torch.dtype, Tensor] = {}
        mine: _Tensor | None = None
        with torch.no_grad():
            while (piece := self._next(mine, others=False) or self._rest(mine, buffers)) is not None:
                mine, start, stop = piece
                try:
                    self._move(mine, start, stop, buffers)
                except BaseException as error:  # a chunk that is lost must never go unnoticed
                    with self._lock:
                        self._errors[mine.number, start] = error

    def _rest(self, mine: _Tensor | None, buffers: dict[torch.dtype, Tensor]) -> tuple[_Tensor, int, int] | None:
        """When all large tensors are begun: the small ones, by the first thread, then pieces of other threads'."""
        if self._batching.acquire(blocking=False):
            self._work_small(buffers)
        return self._next(mine, others=True)

    def _work_small(self, buffers: dict[torch.dtype, Tensor]) -> None:
        """All batches, by one thread."""
        for batch in self._small:
            if self._stop or self._errors or (self.nonfinite and self.stop_at_nonfinite):
                return
            try:
                self._move_batch(batch, buffers)
            except BaseException as error:
                with self._lock:
                    self._errors[batch.number, 0] = error

    def _next(self, mine: _Tensor | None, *, others: bool) -> tuple[_Tensor, int, int] | None:
        """A piece of the thread's own tensor, else of one not begun, else, with `others`, of another thread's.

        While one thread reduces a tensor to its statistic, the others thus have tensors of their own.
        """
        with self._lock:
            if self._stop or self._errors:
                return None
            for tensor in chain([mine] if mine else [], self._begin(), self._open.values() if others else ()):
                piece = next(tensor.pieces, None)
                if piece is not None:
                    return tensor, *piece
            return None

    def _begin(self) -> Iterator[_Tensor]:
        """The next tensor, where there is one and none so far is faulty."""
        if self.nonfinite and self.stop_at_nonfinite:
            return
        for number, place in self._waiting:
            size = place.spec.numel
            self._open[place.name] = _Tensor(number, place, ranges(size, CHUNK), -(-size // CHUNK))
            yield self._open[place.name]

    def _move(self, tensor: _Tensor, start: int, stop: int, buffers: dict[torch.dtype, Tensor]) -> None:
        place, dtype = tensor.place, tensor.place.spec.dtype
        out = _buffer(buffers, dtype, stop - start)
        self.ckpt.read_into(place.name, start, stop, out)
        nonfinite = count_nonfinite(out)
        data = bytes_of(out)
        with machine_errors(self.partial.out):
            self.disk.write_at(self.handles[place.shard], data, place.offset + start * dtype.itemsize)
        self._note(tensor, nonfinite, len(data))

    def _note(self, tensor: _Tensor, nonfinite: int, nbytes: int) -> None:
        name = tensor.place.name
        with self._lock:
            tensor.missing -= 1
            tensor.nonfinite += nonfinite
            if nonfinite:
                self.nonfinite[name] = tensor.nonfinite
            if tensor.missing == 0:
                self._done[name] = self._open.pop(name).nonfinite
        self._count(nbytes)

    def _move_batch(self, batch: Batch, buffers: dict[torch.dtype, Tensor]) -> None:
        dtype, sizes = batch.places[0].spec.dtype, batch.sizes
        out = _buffer(buffers, dtype, sum(sizes))
        read_many(self.ckpt, [place.name for place in batch.places], out)
        counts = map(count_nonfinite, parts(out, sizes)) if count_nonfinite(out) else [0] * len(sizes)
        found = {place.name: count for place, count in zip(batch.places, counts, strict=True)}
        data = bytes_of(out)
        with machine_errors(self.partial.out):
            for first, start, stop in rows(batch.places):
                self.disk.write_at(self.handles[first.shard], data[start:stop], first.offset)
        with self._lock:
            self.nonfinite |= {name: count for name, count in found.items() if count}
            self._done |= found
        self._count(len(data))

    def _count(self, nbytes: int) -> None:
        """So many bytes are written."""
        with self._lock:
            self._unsynced += nbytes
            due = self._unsynced >= SYNC_BYTES
        self.advance(nbytes)
        if due and self._sync_lock.acquire(blocking=False):
            if self._alone:
                self._sync_once()
            else:  # the disk is waited for by a thread of its own
                self._syncing = threading.Thread(target=self._sync_once, name="sync")
                self._syncing.start()

    def _sync_once(self) -> None:
        try:
            self._sync()
        except BaseException as error:
            with self._lock:
                self._errors[-1, 0] = error
        finally:
            self._sync_lock.release()

    def _sync(self) -> None:
        """Data first, then the journal's word that it is there."""
        with self._lock:
            done, self._done, self._unsynced = self._done, {}, 0
        with machine_errors(self.partial.out):
            for handle in self.handles:
                self.disk.sync(handle)
        self.partial.record({k: n for k, n in done.items() if not (n and self.stop_at_nonfinite)})


def _buffer(buffers: dict[torch.dtype, Tensor], dtype: torch.dtype, entries: int) -> Tensor:
    """The first `entries` of the memory that a thread has for one dtype."""
    if dtype not in buffers:
        buffers[dtype] = torch.empty(CHUNK, dtype=dtype)
    return buffers[dtype][:entries]


def count_nonfinite(values: Tensor) -> int:
    """NaN and infinities among `values`."""
    if not values.dtype.is_floating_point or values.numel() == 0:
        return 0
    if values.dtype.itemsize == 1:
        values = values.to(torch.float32)
    low, high = torch.aminmax(values)  # NaN passes through both: one quick pass says that all is well
    if low.isfinite() and high.isfinite():
        return 0
    return int(values.numel() - values.isfinite().sum())


def default_threads() -> int:
    """The processors this process may use, 8 at most."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def keep_freed_memory() -> None:
    """Ask glibc to keep what is freed, up to 64 MB, for the next buffer of the same size.

    It returns every buffer of a megabyte to the system until a larger one was freed, and getting it back page by page
    takes longer than the arithmetic on it (713 against 137 microseconds for three operations on 2^18 entries). Other
    allocators lose nothing.
    """
    torch.empty(KEPT_BYTES, dtype=torch.uint8)


_single = {"users": 0, "before": 0}
_single_lock = threading.Lock()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """torch computes on one thread inside the block; the setting is global, so the last to leave restores it."""
    with _single_lock:
        if _single["users"] == 0:
            _single["before"] = torch.get_num_threads()
            torch.set_num_threads(1)
        _single["users"] += 1
    try:
        yield
    finally:
        with _single_lock:
            _single["users"] -= 1
            if _single["users"] == 0:
                torch.set_num_threads(_single["before"])
