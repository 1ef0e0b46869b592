"""Writes any checkpoint as a Hugging Face folder: streamed, on several threads, resumable, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint, BadParameter, EnvironmentFailure
from consort.core.files import machine_errors, read_at, sha256_of
from consort.core.journal import key_of, provenance
from consort.core.progress import track
from consort.weights.adapters.files import ADAPTER_CONFIG, is_adapter_config
from consort.weights.checkpoint import CHUNK, Checkpoint, bytes_of, leaves, ranges
from consort.weights.disk.card import CARD, MANIFEST, OnDisk, card, manifest
from consort.weights.disk.config_fit import fitted, tied_pair
from consort.weights.disk.dtypes import CODES
from consort.weights.disk.folder_check import CONFIG, INDEX
from consort.weights.disk.layout import Layout, Place, layout
from consort.weights.disk.stream import Stream, count_nonfinite, default_threads
from consort.weights.disk.whole_folder import Disk, Partial, check_target

SHARD_BYTES = 5_000_000_000
SLACK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` did. `resumed` counts tensors found finished; `nonfinite` entries by tensor, for those with any."""

    path: Path
    tensors: int
    bytes: int
    seconds: float
    resumed: int
    nonfinite: Mapping[str, int]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    ckpt: Checkpoint
    out: Path
    layout: Layout
    partial: Partial
    disk: Disk
    allow_nonfinite: bool
    threads: int


def write(
    ckpt: Checkpoint,
    out: str | Path,
    *,
    out_dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    threads: int | None = None,
    allow_nonfinite: bool = False,
    force: bool = False,
    hash_content: bool = False,
    plan: Any = None,
    seed: int = 0,
    extra: Mapping[str, bytes] | None = None,
    disk: Disk | None = None,
) -> Written:
    """Write `ckpt`, a model or an adapter, to the folder `out`, which then holds this checkpoint and nothing else.

    Floating tensors are rounded once, to `out_dtype`. Bytes do not depend on `threads`. Killed and called again with
    equal arguments and unchanged inputs it goes on where it stopped; a computed checkpoint does so only with its
    `plan` (a JSON value, which also goes into manifest and card), since nothing else tells one computation from
    another. `extra` are more files, by name. `hash_content` puts SHA-256 of all inputs and outputs into the manifest.

    Raises OutputExists, BadCheckpoint (NaN or infinity unless `allow_nonfinite`; overflow of the rounding counts),
    EnvironmentFailure. An error leaves nothing behind, only an interruption leaves `<out>.partial-<key>`.
    """
    started = time.monotonic()
    out, disk, threads = Path(os.path.abspath(out)), disk or Disk(), threads or default_threads()
    _check_options(out_dtype, shard_bytes, threads)
    check_target(out, [leaf.path for leaf in leaves(ckpt) if isinstance(leaf, OnDisk)], force=force)
    plan_of_files = layout(ckpt, out_dtype=out_dtype, shard_bytes=shard_bytes)
    beside = _files_beside(ckpt, extra or {})
    given = _options_given(out_dtype, shard_bytes, allow_nonfinite)
    made = manifest(ckpt, plan=plan, seed=seed, options=given, content=hash_content)
    with Partial(out, _key(ckpt, plan_of_files, plan, seed, allow_nonfinite), disk) as partial:
        job = _Job(ckpt, out, plan_of_files, partial, disk, allow_nonfinite, threads)
        if plan is None and ckpt.inputs:
            partial.start_anew()
        resumed, nonfinite, untied = _write_tensors(job)
        beside[ADAPTER_CONFIG if is_adapter_config(ckpt.config) else CONFIG] = _json(
            fitted(ckpt.config, plan_of_files.specs, untied=untied)
        )
        beside.setdefault(CARD, card(ckpt, made, out.name).encode())
        index = plan_of_files.index()
        beside |= {INDEX: _json(index)} if index else {}
        files = _write_beside(job, beside, made, nonfinite, hash_content)
        partial.commit(files)
    seconds = time.monotonic() - started
    specs = plan_of_files.specs
    return Written(out, len(specs), plan_of_files.tensor_bytes, seconds, resumed, nonfinite, tuple(files))


def _check_options(out_dtype: torch.dtype | None, shard_bytes: int, threads: int) -> None:
    if out_dtype is not None and not (out_dtype.is_floating_point and out_dtype in CODES):
        hint = "give float32, bfloat16, float16 or float64"
        raise BadParameter(f"{out_dtype} is no dtype for weights", field="out_dtype", hint=hint)
    if shard_bytes < 1:
        raise BadParameter(f"{shard_bytes} is not positive", field="shard_bytes", hint="give a number of bytes")
    if threads < 1:
        raise BadParameter(f"{threads} is not positive", field="threads", hint="give 1 or more")


def _options_given(out_dtype: torch.dtype | None, shard_bytes: int, allow_nonfinite: bool) -> dict[str, Any]:
    """The options that are not the default, for the manifest."""
    given: dict[str, Any] = {"out_dtype": str(out_dtype).removeprefix("torch.")} if out_dtype else {}
    given |= {"shard_bytes": shard_bytes} if shard_bytes != SHARD_BYTES else {}
    return given | ({"allow_nonfinite": True} if allow_nonfinite else {})


def _key(ckpt: Checkpoint, files: Layout, plan: Any, seed: int, allow_nonfinite: bool) -> str:
    """Names a run by all that its bytes depend on: inputs, plan, seed, versions, layout."""
    made = provenance(plan=plan, inputs=[], seed=seed)
    stamps = [[leaf.name, _stamp(leaf)] for leaf in leaves(ckpt)]
    headers = [hashlib.blake2b(shard.header).hexdigest() for shard in files.shards]
    return key_of([made, stamps, headers, allow_nonfinite])


def _stamp(leaf: Checkpoint) -> Any:
    """Changes when the data of a leaf does; for one in memory its content is hashed."""
    if isinstance(leaf, OnDisk):
        return leaf.stamp()
    digest = hashlib.blake2b()
    names = leaf.keys()
    for name in names:
        digest.update(name.encode())
        digest.update(bytes_of(leaf[name].contiguous().view(-1)))
    return digest.hexdigest()


def _files_beside(ckpt: Checkpoint, extra: Mapping[str, bytes]) -> dict[str, bytes]:
    """What goes beside the weights, read before anything is written."""
    found: dict[str, bytes] = {}
    for name, content in {**ckpt.files(), **extra}.items():
        if (
            Path(name).name != name
            or name in (CONFIG, ADAPTER_CONFIG, INDEX, MANIFEST)
            or name.endswith(".safetensors")
        ):
            raise BadParameter(f"{name!r} cannot lie beside the weights", field="extra", hint="give a plain file name")
        with machine_errors(str(content) if isinstance(content, Path) else name):
            found[name] = content.read_bytes() if isinstance(content, Path) else content
    return found


def _write_tensors(job: _Job) -> tuple[int, dict[str, int], bool]:
    """Tensors found finished, non-finite counts, and whether a head differs from the embedding it is tied to."""
    _check_space(job)
    done = job.partial.finished()
    places = [place for place in job.layout.places() if place.name not in done]
    with _open_shards(job) as handles, track("writing", job.layout.tensor_bytes, unit="B") as advance:
        advance(job.layout.tensor_bytes - sum(place.spec.nbytes for place in places))
        stop = not job.allow_nonfinite
        stream = Stream(job.ckpt, places, handles, job.partial, job.disk, stop, advance)
        stream.run(min(job.threads, max(1, sum(-(-p.spec.numel // CHUNK) for p in places))))
        if stream.nonfinite and stop:
            name = next(iter(stream.nonfinite))
            raise _nonfinite_error(job, name, stream.nonfinite[name])
        counts = {name: count for name, count in done.items() if count} | stream.nonfinite
        ordered = {name: counts[name] for name in job.layout.specs if name in counts}
        return len(done), ordered, _untied(job, handles)


def _check_space(job: _Job) -> None:
    with machine_errors(job.out):
        free = shutil.disk_usage(job.partial.path).free
        have = sum(_on_disk(entry.stat()) for entry in job.partial.path.iterdir())
    need = job.layout.nbytes + SLACK_BYTES - have
    if need > free:
        message = f"disk full: {need} bytes are needed and {free} are free"
        raise EnvironmentFailure(message, field=str(job.out), hint="free some space or choose another disk")


def _on_disk(found: os.stat_result) -> int:
    """Bytes that a file takes, holes left out where the system counts blocks."""
    return found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size


@contextmanager
def _open_shards(job: _Job) -> Iterator[list[int]]:
    """Handles of all weight files, each of its final size and with its header written."""
    handles: list[int] = []
    try:
        with machine_errors(job.out):
            for shard in job.layout.shards:
                handles.append(job.disk.create(job.partial.path / shard.file, shard.nbytes))
                job.disk.write_at(handles[-1], memoryview(shard.header), 0)
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


def _untied(job: _Job, handles: Sequence[int]) -> bool:
    pair = tied_pair(job.ckpt.config, job.layout.specs)
    if pair is None:
        return False
    places = {place.name: place for place in job.layout.places()}
    one, other = (places[name] for name in pair)
    return any(_bytes(one, handles, *r) != _bytes(other, handles, *r) for r in ranges(one.spec.nbytes, CHUNK))


def _bytes(place: Place, handles: Sequence[int], start: int, stop: int) -> bytes:
    found = bytearray(stop - start)
    with machine_errors(place.name):
        return bytes(found[: read_at(handles[place.shard], memoryview(found), place.offset + start)])


def _nonfinite_error(job: _Job, name: str, count: int) -> BadCheckpoint:
    """Says where NaN or infinity come from: an input, the rounding, or the computation."""
    for leaf in leaves(job.ckpt):
        names = leaf.keys()
        if name in names and (found := _nonfinite_in(leaf, name, leaf.spec(name).dtype)):
            message = f"{counted(found, 'NaN or infinite entry', 'NaN or infinite entries')} in the input {leaf.name}"
            hint = "use a sound copy of it, or pass --allow-nonfinite (allow_nonfinite=True)"
            return BadCheckpoint(message, field=name, hint=hint)
    dtype = job.layout.specs[name].dtype
    if not _nonfinite_in(job.ckpt, name, torch.float64):
        message = f"{counted(count, 'entry is', 'entries are')} too large for {str(dtype).removeprefix('torch.')}"
        return BadCheckpoint(message, field=name, hint="choose out_dtype bfloat16 or float32")
    hint = "look at the parameters that act on this tensor, or pass --allow-nonfinite (allow_nonfinite=True)"
    return BadCheckpoint(
        f"{counted(count, 'computed entry is', 'computed entries are')} NaN or infinite", field=name, hint=hint
    )


def _nonfinite_in(ckpt: Checkpoint, name: str, dtype: torch.dtype) -> int:
    count, out = 0, torch.empty(CHUNK, dtype=dtype)
    for start, stop in ranges(ckpt.spec(name).numel, CHUNK):
        ckpt.read_into(name, start, stop, out[: stop - start])
        count += count_nonfinite(out[: stop - start])
    return count


def _write_beside(
    job: _Job, beside: Mapping[str, bytes], made: dict[str, Any], nonfinite: Mapping[str, int], hash_content: bool
) -> list[str]:
    """Write the small files and, last, the manifest, which lists them all; returns their names."""
    with machine_errors(job.out):
        for name, data in sorted(beside.items()):
            job.disk.write_file(job.partial.path / name, data)
        weights = [shard.file for shard in job.layout.shards]
        listed: dict[str, dict[str, Any]] = {}
        for name in sorted([*weights, *beside]):
            path = job.partial.path / name
            listed[name] = {"bytes": path.stat().st_size} | ({"sha256": sha256_of(path)} if hash_content else {})
        dtypes = sorted({str(spec.dtype).removeprefix("torch.") for spec in job.layout.specs.values()})
        output = {"tensors": len(job.layout.specs), "bytes": job.layout.tensor_bytes, "dtype": dtypes}
        output |= {"nonfinite": dict(nonfinite)} if nonfinite else {}
        content = made | {"output": output, "files": listed | {MANIFEST: {}}}
        job.disk.write_file(job.partial.path / MANIFEST, _json(content))
    return [*listed, MANIFEST]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
