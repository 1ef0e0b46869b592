"""Reads the same range of a tensor from all inputs, stacked as a method wants it, into memory that is used again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from consort.core.errors import Incompatible
from consort.merge.arithmetic.randomness import fill_uniform, stream_key
from consort.merge.engine.blocks import Block, Blocks, Grain, ranges, sampled_parts, shaped, spread
from consort.merge.engine.matching import Job
from consort.merge.method import Method
from consort.weights.checkpoint import Checkpoint, Memory, parts, read_many
from consort.weights.stats import KINDS


class Part(NamedTuple):
    """A range of one tensor: what the method sees, and the base that its result is added to."""

    block: Block
    base: Float[Tensor, "entries"] | None


class Batch(NamedTuple):
    """Whole tensors one after another, flat; `base` as in `Part`."""

    stack: Float[Tensor, "model entries"]
    drawn: Float[Tensor, "model entries"] | None
    base: Float[Tensor, "entries"] | None


class Reader:
    """Stacks the inputs of a merge. Every thread has its own memory; what is returned is valid until the next call."""

    def __init__(
        self,
        method: Method,
        models: Sequence[Checkpoint],
        base: Checkpoint | None,
        seed: int,
        statistics: Sequence[Checkpoint] = (),
    ) -> None:
        self.method, self.models, self.seed, self.statistics = method, models, seed, statistics
        self._measured = [frozenset(c.keys()) for c in statistics]
        self.base = None if method.base == "ignored" else base
        self.inputs = [*models] if base is None else [*models, base]
        self._memory = threading.local()

    def height(self, job: Job) -> int:
        """Length of the model axis of the stack."""
        return len(self._stacked(job))

    def present(self, job: Job) -> list[int]:
        """The numbers of the models that have the tensor."""
        return [i for i in range(len(self.models)) if job.sources[i]]

    def measured(self, job: Job) -> bool:
        """Whether there are statistics of a tensor."""
        pairs = zip(job.sources, self._measured, strict=False)
        return bool(self._measured) and all(name in names for name, names in pairs)

    def grain(self, job: Job) -> Grain:
        """The method's, but the finest for a tensor without the statistics that the method is about."""
        return self.method.grain if self.measured(job) or not self.method.statistics else "entry"

    def read(self, job: Job, start: int, stop: int) -> Part:
        """Entries [start, stop) of all inputs.

        A tensor of one block is read for its statistic and at once again to be merged: the second time it is here.
        """
        wanted, last = (job.name, start, stop), getattr(self._memory, "last", None)
        if last is None or last[0] != wanted or self.method.statistic is None:
            self._memory.last = None  # reading may fail half-way
            self._memory.last = last = wanted, self._read(job, start, stop)
        part: Part = last[1]
        return part

    def _read(self, job: Job, start: int, stop: int) -> Part:
        height = self.height(job)
        stack = self._buffer("stack", height * (stop - start), job.compute).view(height, -1)
        base = None
        if self.method.on == "deltas" and self.base is not None:
            base = self._flat(self.base, job.sources[-1], start, stop, self._buffer("base", stop - start, job.compute))
        self._fill(stack, base, job, start, stop)
        shape, grain = job.spec.shape, self.grain(job)
        drawn = shaped(self._uniform(job, start, stop), shape, grain) if self.method.random else None
        return Part(Block(shaped(stack, shape, grain), drawn, self._statistics(job, start, stop)), base)

    def bits(self, job: Job, start: int, stop: int, dtype: torch.dtype) -> tuple[list[Tensor], Tensor | None]:
        """Entries [start, stop) of the stack and of the base that results are added to, in the dtype they have."""
        stacked, under = self._stacked(job), self.method.on == "deltas" and self.base is not None
        height = len(stacked) + under
        memory = self._buffer("bits", height * (stop - start), dtype).view(height, -1)
        for row, (checkpoint, source) in zip(memory, stacked, strict=False):
            checkpoint.read_into(job.sources[source], start, stop, row)
        if not under or self.base is None:
            return list(memory), None
        self.base.read_into(job.sources[-1], start, stop, memory[-1])
        return list(memory[:-1]), memory[-1]

    def read_batch(self, jobs: Sequence[Job]) -> Batch:
        """Whole tensors of one dtype that all inputs have, without statistics; `read` leaves what is returned alone."""
        entries, compute, height = sum(job.spec.numel for job in jobs), jobs[0].compute, self.height(jobs[0])
        stack = self._buffer("batch", height * entries, compute).view(height, -1)
        base = None
        if self.method.on == "deltas" and self.base is not None:
            base = self._buffer("batch base", entries, compute)
            read_many(self.base, [job.sources[-1] for job in jobs], base)
        for row, (checkpoint, source) in zip(stack, self._stacked(jobs[0]), strict=True):
            read_many(checkpoint, [job.sources[source] for job in jobs], row)
        if base is not None:
            stack -= base
        return Batch(stack, self._drawn(jobs, entries) if self.method.random else None, base)

    def _drawn(self, jobs: Sequence[Job], entries: int) -> Float[Tensor, "model entries"]:
        drawn = self._buffer("batch uniform", len(self.models) * entries, torch.float32).view(len(self.models), -1)
        for job, part in zip(jobs, parts(drawn, [job.spec.numel for job in jobs], dim=1), strict=True):
            for position, row in enumerate(part):
                fill_uniform(stream_key(self.seed, self.method.name, job.name, position), 0, row)
        return drawn

    def _statistics(self, job: Job, start: int, stop: int) -> Float[Tensor, "model *stat"] | None:
        """Those of the entries, or whole matrices where they are of another shape than the tensor."""
        if not self.measured(job):
            return None
        shape = KINDS[self.method.statistics](job.spec.shape)
        low, high = (start, stop) if shape == job.spec.shape else (0, prod(shape))
        stack = self._buffer("statistics", len(self.models) * (high - low), job.compute).view(len(self.models), -1)
        for row, checkpoint, name in zip(stack, self.statistics, job.sources, strict=False):
            checkpoint.read_into(name, low, high, row)
        return shaped(stack, shape, self.grain(job))

    def _fill(self, stack: Tensor, base: Tensor | None, job: Job, start: int, stop: int) -> None:
        for row, (checkpoint, source) in zip(stack, self._stacked(job), strict=True):
            flat = self._flat(checkpoint, job.sources[source], start, stop, row)
            if base is not None:
                torch.sub(flat, base, out=row)
            elif flat is not row:
                row.copy_(flat)

    def _stacked(self, job: Job) -> list[tuple[Checkpoint, int]]:
        """The checkpoints of the stack, in its order, and which of a job's sources is theirs."""
        models = [(self.models[i], i) for i in self.present(job)]
        return [(self.base, -1), *models] if self.method.on == "weights" and self.base is not None else models

    def _flat(self, checkpoint: Checkpoint, name: str, start: int, stop: int, memory: Tensor) -> Tensor:
        """The range as it lies in memory where it already has the dtype of `memory`, else read into `memory`."""
        if isinstance(checkpoint, Memory):
            whole = checkpoint[name]
            if whole.dtype == memory.dtype:
                return whole.view(-1)[start:stop]
        checkpoint.read_into(name, start, stop, memory)
        return memory

    def _uniform(self, job: Job, start: int, stop: int) -> Float[Tensor, "model entries"]:
        present = self.present(job)
        drawn = self._buffer("uniform", len(present) * (stop - start), torch.float32).view(len(present), -1)
        for position, row in zip(present, drawn, strict=True):
            fill_uniform(stream_key(self.seed, self.method.name, job.name, position), start, row)
        return drawn

    def _buffer(self, role: str, entries: int, dtype: torch.dtype) -> Tensor:
        """The first `entries` of this thread's memory for `role`, which grows to the largest ever asked for."""
        buffers: dict[Any, Tensor] = self._memory.__dict__
        found = buffers.get((role, dtype))
        if found is None or found.numel() < entries:
            found = buffers[role, dtype] = torch.empty(entries, dtype=dtype)
        return found[:entries]

    def copy(self, job: Job, start: int, stop: int, out: Shaped[Tensor, "entries"]) -> None:
        """Entries of a tensor that is not computed. Raises Incompatible where the inputs differ."""
        first, other = (torch.empty(stop - start, dtype=job.spec.dtype) for _ in range(2))
        (donor, source), *rest = ((c, n) for c, n in zip(self.inputs, job.sources, strict=True) if n)
        donor.read_into(source, start, stop, first)
        for checkpoint, name in rest:
            checkpoint.read_into(name, start, stop, other)
            if not torch.equal(first, other):
                message = f"{_dtype(job)} values differ between {donor.name} and {checkpoint.name}"
                raise Incompatible(message, field=job.name, hint="integer tensors are copied, so they must be equal")
        out.copy_(first)


def _dtype(job: Job) -> str:
    return str(job.spec.dtype).removeprefix("torch.")


@dataclass(frozen=True, slots=True)
class Stacks:
    """The blocks of the tensors that `jobs` make, one after another; of several jobs the shape is that of a vector."""

    reader: Reader
    jobs: Sequence[Job]
    of_model: Callable[[Callable[[Blocks], Any]], Any]

    @property
    def shape(self) -> tuple[int, ...]:
        shapes = [job.spec.shape for job in self.jobs]
        return shapes[0] if len(shapes) == 1 else (sum(job.spec.numel for job in self.jobs),)

    @property
    def models(self) -> int:
        return self.reader.height(self.jobs[0])

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if any(job.compute == torch.float64 for job in self.jobs) else torch.float32

    def tensors(self) -> Iterator[Blocks]:
        for job in self.jobs:
            yield Stacks(self.reader, [job], self.of_model)

    def sample(self) -> Iterator[Block]:
        parts = sampled_parts(prod(self.shape))
        for job in self.jobs:
            share = -(-parts * job.spec.numel // prod(self.shape))
            for start, stop in spread(job.spec.shape, self.reader.grain(job), share):
                block = self.reader.read(job, start, stop).block
                yield block._replace(stack=block.stack.to(self.dtype))

    def __iter__(self) -> Iterator[Block]:
        for job in self.jobs:
            for start, stop in ranges(job.spec.shape, self.reader.grain(job), 0, job.spec.numel):
                block = self.reader.read(job, start, stop).block
                yield block._replace(stack=block.stack.to(self.dtype))
