"""The tensors of a few safetensors files, read piece by piece from any thread."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from mmap import ACCESS_COPY, ALLOCATIONGRANULARITY, mmap
from pathlib import Path

import torch
from torch import Tensor

from consort.core.errors import BadCheckpoint
from consort.core.files import PLAIN, machine_errors, read_at
from consort.weights.checkpoint import CHUNK, Spec, bytes_of, ranges, round_into
from consort.weights.disk.dtypes import DTYPES
from consort.weights.disk.header import Extent, Header, identity

_buffers = threading.local()
"""One buffer per thread, reused for every chunk of every file: fresh memory costs more than the reading."""


class Shards:
    """Tensors by name, over files whose headers are checked.

    A file is opened when it is first read and must still be the one whose header was checked. `close` closes what is
    open; so does the end of the object's life.
    """

    def __init__(self, headers: Mapping[Path, Header]) -> None:
        self.headers = dict(headers)
        self._places: dict[str, tuple[Path, Extent]] = {
            name: (path, extent) for path, header in headers.items() for name, extent in header.tensors.items()
        }
        self._handles: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _close, self._handles)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self._places[name][1].spec

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """Entries [start, stop) of the flattened tensor into the flat `out`, rounded once."""
        path, extent = self._places[name]
        dtype = DTYPES[extent.code]
        self._read(path, extent.start + start * dtype.itemsize, dtype, out, name)

    def mapped(self, name: str) -> Tensor | None:
        """The tensor as a private map of its file: only what is touched is in memory, what is written stays here.

        None where it does not lie at a whole number of entries.
        """
        path, extent = self._places[name]
        dtype, start = DTYPES[extent.code], extent.start - extent.start % ALLOCATIONGRANULARITY
        if extent.start % dtype.itemsize or extent.stop == extent.start:
            return None
        with machine_errors(path):
            pages = mmap(self._handle(path), extent.stop - start, access=ACCESS_COPY, offset=start)
        flat = torch.frombuffer(pages, dtype=dtype, count=extent.spec.numel, offset=extent.start - start)
        return flat.view(extent.shape)

    def read_many(self, names: Sequence[str], out: Tensor) -> None:
        """The whole tensors `names`, one after another in the flat `out`; those that lie in a row are read at once."""
        done = 0
        for path, code, start, stop, name in self._rows(names):
            count = (stop - start) // DTYPES[code].itemsize
            self._read(path, start, DTYPES[code], out[done : done + count], name)
            done += count

    def _rows(self, names: Sequence[str]) -> Iterator[tuple[Path, str, int, int, str]]:
        """File, dtype, first and last byte of tensors that follow one on another, and the first one's name."""
        row: tuple[Path, str, int, int, str] | None = None
        for name in names:
            path, extent = self._places[name]
            if row and row[:2] == (path, extent.code) and row[3] == extent.start:
                row = (*row[:3], extent.stop, row[4])
                continue
            if row:
                yield row
            row = path, extent.code, extent.start, extent.stop, name
        if row:
            yield row

    def _read(self, path: Path, offset: int, dtype: torch.dtype, out: Tensor, name: str) -> None:
        """Entries from byte `offset` on into `out`, rounded once."""
        handle = self._handle(path)
        if out.dtype == dtype and out.is_contiguous():
            _fill(handle, bytes_of(out), offset, path, name)
            return
        for low, high in ranges(len(out), CHUNK):
            piece = _buffer((high - low) * dtype.itemsize)
            _fill(handle, piece, offset + low * dtype.itemsize, path, name)
            round_into(torch.frombuffer(piece, dtype=dtype), out[low:high])

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            _close(self._handles)

    def _handle(self, path: Path) -> int:
        with self._lock:
            if path not in self._handles:
                self._handles[path] = self._open(path)
            return self._handles[path]

    def _open(self, path: Path) -> int:
        with machine_errors(path):
            handle = os.open(path, os.O_RDONLY | PLAIN)
        if identity(os.fstat(handle)) != self.headers[path].identity:
            os.close(handle)
            raise BadCheckpoint("was changed while it was in use", field=str(path), hint="run again")
        return handle


def _buffer(nbytes: int) -> memoryview:
    if len(getattr(_buffers, "bytes", b"")) < nbytes:
        _buffers.bytes = bytearray(nbytes)
    return memoryview(_buffers.bytes)[:nbytes]


def _fill(handle: int, piece: memoryview, offset: int, path: Path, name: str) -> None:
    done = 0
    while done < len(piece):
        with machine_errors(path):
            count = read_at(handle, piece[done:], offset + done)
        if count == 0:
            raise BadCheckpoint(f"ends inside tensor {name!r}", field=str(path), hint="was it changed while in use?")
        done += count


def _close(handles: dict[Path, int]) -> None:
    while handles:
        os.close(handles.popitem()[1])
