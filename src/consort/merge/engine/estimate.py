"""What a merge would write and need, from headers alone."""

from __future__ import annotations

from typing import Any

import torch

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.merge.engine.merged import Merged
from consort.merge.registry import methods
from consort.weights.checkpoint import BLOCK, Checkpoint, leaves
from consort.weights.disk.stream import default_threads
from consort.weights.matrices import matrices_of

RUNTIME_BYTES = 320_000_000
"""torch itself, and what the allocator keeps (measured: 307 to 400 MB in all for two models of 1.1e9 parameters)."""
SCRATCH = 12
"""Blocks that a worker holds beside those of the inputs."""
COPIES, FACTORS = 5, 16
"""Matrices of float64 that a decomposition holds: of each input, and beside them (measured: the most, of `knots`)."""
ENTRY_S, DRAW_S, RANK_S = 4e-9, 7e-9, 33e-9
"""Core seconds for an entry of one input: to read and merge it, to draw a number for it, to rank it within its row."""
SIDE_S = 0.5e-9
"""Core seconds for an entry of one input and a row or column of the shorter side, where a method looks for singular
directions (measured at 1,024 x 4,096: 0.12e-9 of `iso_c`, 0.40e-9 of `tsv_m`, 0.77e-9 of `knots`; more for smaller).
"""
START_S = 0.5
DISK_BYTES_PER_S = 1e9


def estimate(merged: Checkpoint, dtype: torch.dtype | None = None, threads: int | None = None) -> dict[str, Any]:
    """Counts, bytes and rough seconds of writing `merged`, by name; `dtype`: of the output, instead of its own.

    Memory: runtime + threads x (inputs + scratch) x block, whatever the size of the models; methods that look at whole
    tensors need the largest one, of every input in float32 and, for singular directions, in float64 with their factors.
    """
    specs = [merged.spec(name) for name in merged.keys()]
    out_bytes = sum(
        s.numel * (dtype.itemsize if dtype and s.dtype.is_floating_point else s.dtype.itemsize) for s in specs
    )
    inputs, workers = leaves(merged), threads or default_threads()
    return {
        "tensors": len(specs),
        "parameters": sum(s.numel for s in specs),
        "bytes": out_bytes,
        "read_bytes": sum(leaf.spec(name).nbytes for leaf in inputs for name in leaf.keys()),
        "memory_bytes": RUNTIME_BYTES + workers * max((len(inputs) + SCRATCH) * BLOCK * 4, _whole_tensors(merged)),
        "seconds": round(START_S + core_seconds(merged) / workers + out_bytes / DISK_BYTES_PER_S, 1),
    }


def check_memory(merged: Checkpoint, max_bytes: int, threads: int | None = None) -> None:
    """Raises BadParameter where the estimate of writing `merged` is above `max_bytes`; nothing is read for it."""
    workers = threads or default_threads()
    needed = int(estimate(merged, threads=workers)["memory_bytes"])
    if needed <= max_bytes:
        return
    each = (needed - RUNTIME_BYTES) // workers
    fitting = (max_bytes - RUNTIME_BYTES) // each
    hint = f"--threads {fitting}"
    if fitting < 1:
        hint = f"{_size(RUNTIME_BYTES + each)} with one thread"
        hint += ", or a method that needs no whole tensors (ties, task_arithmetic)" if _whole_tensors(merged) else ""
    threads_told = counted(workers, "thread")
    raise BadParameter(
        f"needs {_size(needed)} with {threads_told}, not {_size(max_bytes)}", field="max_memory", hint=hint
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def _whole_tensors(checkpoint: Checkpoint) -> int:
    """Bytes that a worker holds of the largest tensor that a method wants whole, 0 where none does."""
    inner = max(map(_whole_tensors, checkpoint.inputs), default=0)
    if not isinstance(checkpoint, Merged) or methods.get(checkpoint.method).grain != "tensor":
        return inner
    count = len(checkpoint.models)
    plain, decomposed = 4 * (count + 2) + 8 * count, 4 * (count + 2) + 8 * (COPIES * count + FACTORS)
    each = (
        checkpoint.spec(name).numel * (decomposed if _is_decomposed(checkpoint, name) else plain)
        for name in checkpoint.keys()
    )
    return inner + max(each, default=0)


def _is_decomposed(checkpoint: Merged, name: str) -> bool:
    if not methods.get(checkpoint.method).of_matrices:
        return False
    kind = matrices_of(name, checkpoint.spec(name).shape, checkpoint.config).kind
    return kind == "matrix" or (kind == "embedding" and checkpoint.params.get("embedding") == "spectral")


def core_seconds(checkpoint: Checkpoint) -> float:
    """Of one pass over a checkpoint: two over its inputs for a statistic, and what a method by matrices decomposes."""
    numbers = sum(checkpoint.spec(name).numel for name in checkpoint.keys())
    if not isinstance(checkpoint, Merged):
        return sum(map(core_seconds, checkpoint.inputs)) + ENTRY_S * numbers
    method = methods.get(checkpoint.method)
    passes = 2 if method.statistic else 1
    turned = SIDE_S * len(checkpoint.models) * _entries_times_sides(checkpoint)
    drawn = (RANK_S if method.grain == "row" else DRAW_S) * len(checkpoint.models) if method.random else 0.0
    return passes * sum(map(core_seconds, checkpoint.inputs)) + drawn * numbers + turned


def _entries_times_sides(checkpoint: Merged) -> int:
    """Entries of each map that is decomposed times its shorter side, summed: what decompositions cost."""
    specs = [checkpoint.spec(name) for name in checkpoint.keys() if _is_decomposed(checkpoint, name)]
    return sum(spec.numel * min(spec.shape[-2:]) for spec in specs)
