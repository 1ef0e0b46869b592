"""The merge of checkpoints is a checkpoint: each tensor is computed, in float32, when it is read.

The engine owns what every method would otherwise repeat: names, shapes, dtypes, the base, parameters, statistics,
random numbers, integer and tied tensors. A method sees the stacked tensors of one name and returns one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.binding import described
from consort.core.errors import BadParameter, ConsortError, together
from consort.core.kinds import check_several_referred
from consort.core.params import bind
from consort.merge.arithmetic.votes import added, finite_or_nan
from consort.merge.engine.blocks import Blocks, InMemory, ranges, shaped
from consort.merge.engine.checks import (
    check_inputs,
    check_models_statistics,
    check_vocabularies_of_statistics,
    collecting,
)
from consort.merge.engine.config_conflict import read_conflicts, settled
from consort.merge.engine.fused import fuse, fusible
from consort.merge.engine.matching import Available, Job, completed, dtype_named, match, merged_config, tell_dtypes
from consort.merge.engine.memo import Memo
from consort.merge.engine.reading import Batch, Reader, Stacks
from consort.merge.engine.resolving import depths, resolver
from consort.merge.registry import methods
from consort.weights.architecture.loaded import in_one_layout
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, parts, round_into
from consort.weights.family import differences
from consort.weights.matrices import matrices_of
from consort.weights.stats import verify
from consort.weights.views.stack import identity
from consort.weights.vocabulary.align import align_vocabularies

KEPT = 64
"""Statistics kept at a time; for grain "tensor" it is one merged tensor."""


def merge(
    name: str,
    models: Sequence[Checkpoint],
    *,
    base: Checkpoint | None = None,
    statistics: Sequence[Checkpoint] | None = None,
    seed: int = 0,
    tokenizer: Any = None,
    missing: Literal["base", "available"] | None = None,
    config_conflict: Mapping[str, Any] | None = None,
    dtype: torch.dtype | str | None = None,
    out_dtype: torch.dtype | str | None = None,
    **params: Any,
) -> Merged:
    """The merge of `models` by the method `name`, with the method's own parameters; nothing is read yet.

    `statistics`: for a method that wants them, what was collected of each model, in their order (see `weights.stats`).
    `tokenizer`: how models of different vocabularies are brought to one (see `weights.vocab_policy`).
    `missing`: a tensor that some inputs lack is the base's there ("base"), or merged from those that have it
    ("available"); without, it is refused. `config_conflict`: for each configuration key that differs, the input (by
    name, number from 0, or "base") whose value the output has; without, differences are refused.
    The output has dtype `out_dtype`, else `dtype`, else the promotion of the inputs'. `seed` decides every draw.
    An entry that is NaN or infinite in an input is NaN in the merge: no vote and no threshold hides it.
    Raises UnknownName, BadParameter and Incompatible.

    >>> import consort
    >>> base, mirror, order = (consort.load(f"lab:{name}") for name in ("base", "mirror", "order"))
    >>> merged = consort.merge("ties", [mirror, order], base=base, density=0.3)
    >>> merged.name, tuple(merged["model.norm.weight"].shape)
    ('ties(mirror, order, base)', (128,))
    """
    return Merged(
        name,
        models,
        base=base,
        statistics=statistics,
        seed=seed,
        tokenizer=tokenizer,
        missing=missing,
        config_conflict=config_conflict,
        dtype=dtype,
        out_dtype=out_dtype,
        params=params,
    )


def _by_python_name(declared: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    names = {p.plan_name: p.name for p in declared}
    return {names.get(key, key): value for key, value in given.items()}


class Merged:
    """A merge, itself a checkpoint. Use `merge`; the attributes are its arguments as given, `params` by Python name."""

    __repr__ = described

    def __init__(
        self,
        method: str,
        models: Sequence[Checkpoint],
        *,
        base: Checkpoint | None = None,
        statistics: Sequence[Checkpoint] | None = None,
        seed: int = 0,
        tokenizer: Any = None,
        missing: Literal["base", "available"] | None = None,
        config_conflict: Mapping[str, Any] | None = None,
        dtype: torch.dtype | str | None = None,
        out_dtype: torch.dtype | str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        check_several_referred("checkpoint", models, "models")
        self.method, self.models, self.base, self.seed = method, tuple(models), base, seed
        self.statistics = None if statistics is None else tuple(statistics)
        self.tokenizer, self.dtype, self.out_dtype = tokenizer, dtype, out_dtype
        self.missing, self.config_conflict = missing, config_conflict
        self._method = methods.get(method)
        self.params = _by_python_name(self._method.params, params or {})
        check_inputs(self._method, self.models, base)
        faults: list[ConsortError] = []
        with collecting(faults):
            bound = bind(method, self._method.params, self.params, len(self.models), schedules=True)
            wanted = dtype_named(out_dtype, "out_dtype") or dtype_named(dtype, "dtype")
        self._merged_inputs: tuple[Checkpoint, ...] = (*self.models, *(() if base is None else (base,)))
        with collecting(faults):
            self._merged_inputs = self._aligned(self._merged_inputs)
        with collecting(faults):
            chosen = self._chosen()
            self._jobs = match(
                self._merged_inputs, None if faults else wanted, settled=chosen, available=self._available
            )
        if faults:
            raise together(faults)
        tell_dtypes(self._merged_inputs, self._jobs, wanted)
        self._params = resolver(self._method, bound, self._jobs, self.models)
        config = merged_config(self._donor, self._jobs)
        self.config: Mapping[str, Any] = settled(config, chosen, self._merged_inputs) if chosen else config
        self.name = f"{method}({', '.join(c.name for c in self._merged_inputs)})"
        self._reader = self._made_reader()
        self._verified = False
        self._once: Memo[Any] = Memo(1 if self._method.grain == "tensor" else KEPT)

    def _aligned(self, inputs: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
        """The inputs in one layout and one vocabulary, and none without what the base has."""
        inputs = in_one_layout(inputs)
        under = None if self.base is None else inputs[-1]
        return tuple(self._completed(align_vocabularies(inputs[: len(self.models)], under, self.tokenizer)))

    def _made_reader(self) -> Reader:
        """What reads the inputs, laid out alike; statistics must belong to them."""
        aligned = self._merged_inputs[: len(self.models)]
        under = None if self.base is None else self._merged_inputs[-1]
        check_vocabularies_of_statistics(self.models, self.base, self.tokenizer, self.statistics)
        check_models_statistics(self._method, aligned, self.statistics)
        return Reader(self._method, aligned, under, self.seed, self.statistics or ())

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        """The models, then the base, then the statistics."""
        return (*self._merged_inputs, *(self.statistics or ()))

    def _completed(self, inputs: Sequence[Checkpoint]) -> Sequence[Checkpoint]:
        """With `missing: base` every input has all that the base has."""
        if self.missing not in (None, "base", "available"):
            raise BadParameter(f"{self.missing!r} is no way", field="missing", hint="base | available")
        if self.missing != "base":
            return inputs
        if self.base is None:
            raise BadParameter("there is no base", field="missing", hint="base: MODEL, or missing: available")
        return completed(inputs)

    def _chosen(self) -> Mapping[str, int]:
        """The input that settles each configuration key that differs."""
        different = differences([c.config for c in self._merged_inputs if c.config])
        donor = len(self.models) if self.base is not None else 0
        return read_conflicts(self.config_conflict, different, self._merged_inputs, donor)

    @property
    def _available(self) -> Available | None:
        if self.missing != "available":
            return None
        with_base = self.base is not None and self._method.base != "ignored"
        return Available(len(self.models), self._method.inputs[0], with_base)

    def _verify(self) -> None:
        """Raises Incompatible unless the statistics are those of the models, told by their fingerprints."""
        for model, found in zip(self._reader.models, self._reader.statistics, strict=False):
            verify(found, model)
        self._verified = True

    @property
    def _donor(self) -> Checkpoint:
        """Who gives config, tokenizer and all else beside the weights: the base, else the first model."""
        return self._merged_inputs[-1 if self.base is not None else 0]

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._jobs)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self._job(name).spec

    def files(self) -> Mapping[str, Path | bytes]:
        return self._donor.files()

    def resolve(self, name: str) -> Mapping[str, Any]:
        """The checked parameters of the tensor `name`; schedules make them differ."""
        return self._params(name)

    def identity(self, name: str) -> tuple[Any, ...]:
        """Equal for tensors that are computed alike from the same inputs (see `weights.stack.identity`)."""
        sources = [(c, s) for c, s in zip(self._merged_inputs, self._job(name).sources, strict=True) if s]
        drawn = (self.seed, name) if self._method.random else ()
        params = tuple(self.resolve(name).values())
        found = (identity(checkpoint, source) for checkpoint, source in sources)
        depth = (self._depths[name],) if self._method.of_depth else ()
        return (self.method, params, drawn, depth, *map(id, self.statistics or ()), *found)

    def __getitem__(self, name: str) -> Tensor:
        spec = self.spec(name)
        out = torch.empty(spec.shape, dtype=spec.dtype)
        self.read_into(name, 0, spec.numel, out.view(-1))
        return out

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        job = self._job(name)
        if start == stop:
            return
        try:
            if not self._verified:
                self._verify()
            if job.copied:
                self._reader.copy(job, start, stop, out)
            else:
                with np.errstate(all="ignore"), torch.no_grad():  # NaN in, NaN out: the writer reports it
                    self._compute(job, start, stop, out)
        except ConsortError as error:
            if not error.field:
                error.within(name)
            raise

    def read_many(self, names: Sequence[str], out: Tensor) -> None:
        """What `read_into` gives of each whole tensor, one after another in `out`: read and rounded together."""
        jobs = [job for name in names if (job := self._job(name)).spec.numel]
        if (
            any(job.copied or job.partial or job.compute != jobs[0].compute for job in jobs)
            or self._method.statistics
            or not jobs
        ):
            for name, part in zip(names, parts(out, [self.spec(name).numel for name in names]), strict=True):
                self.read_into(name, 0, len(part), part)
            return
        with np.errstate(all="ignore"), torch.no_grad():
            batch = self._reader.read_batch(jobs)
            merged = self._merged_batch(jobs, batch)
            result = merged if batch.base is None else added(batch.base, merged)
            round_into(finite_or_nan(result, batch.stack), out)

    def _merged_batch(self, jobs: Sequence[Job], batch: Batch) -> Float[Tensor, "entries"]:
        """At once where each entry is by itself, else tensor by tensor."""
        method, params = self._method, self.resolve(jobs[0].name)
        entrywise = method.grain == "entry" and method.statistic is None and not method.of_depth
        if entrywise and all(self.resolve(job.name) is params for job in jobs):
            return method.apply(batch.stack, None, batch.drawn, params)
        sizes = [job.spec.numel for job in jobs]
        drawn = [None] * len(jobs) if batch.drawn is None else parts(batch.drawn, sizes, dim=1)
        each = zip(jobs, parts(batch.stack, sizes, dim=1), drawn, strict=True)
        return torch.cat([self._merged_small(job, stack, of_job) for job, stack, of_job in each])

    def _merged_small(
        self, job: Job, flat: Float[Tensor, "model entries"], drawn: Float[Tensor, "model entries"] | None
    ) -> Float[Tensor, "entries"]:
        """A tensor that is in memory."""
        method, shape, params = self._method, job.spec.shape or (1,), self.resolve(job.name)
        grain = method.grain
        stack, stat = flat.contiguous(), None
        uniform = None if drawn is None else shaped(drawn.contiguous(), shape, grain)
        try:
            if grain != "tensor":
                blocks = InMemory(
                    stack.view(-1, *shape),
                    None if drawn is None else drawn.reshape(-1, *shape),
                    grain,
                    whole_model=partial(self._of_model, self._reader.present(job), params),
                )
                stat = method.measure(blocks, params)
            told = self._told(job)
            return method.apply(shaped(stack, shape, grain), stat, uniform, params, **told).reshape(-1)
        except ConsortError as error:
            if not error.field:
                error.within(job.name)
            raise

    def _job(self, name: str) -> Job:
        if name not in self._jobs:
            raise no_tensor(self, name)
        return self._jobs[name]

    def _compute(self, job: Job, start: int, stop: int, out: Tensor) -> None:
        if fusible(self._reader, job, out) and self._fused(job, start, stop, out):
            return
        for first, last in ranges(job.spec.shape, self._reader.grain(job), start, stop):
            result = self._block(job, first, last)
            low, high = max(first, start), min(last, stop)
            round_into(result[low - first : high - first], out[low - start : high - start])

    def _block(self, job: Job, first: int, last: int) -> Float[Tensor, "entries"]:
        """Entries [first, last) before rounding; a method of grain "tensor" is computed once for all of them."""
        if self._reader.grain(job) == "tensor":
            whole: Tensor = self._once(job.name, lambda: self._merged(job, 0, job.spec.numel, None))
            return whole
        return self._merged(job, first, last, self._statistic(job))

    def _statistic(self, job: Job) -> Any:
        method, params = self._method, self.resolve(job.name)
        measured = partial(self._once, job.name, lambda: method.measure(self._stacks([job], params), params))
        return measured() if method.statistic else None

    def _fused(self, job: Job, start: int, stop: int, out: Tensor) -> bool:
        form = self._method.formed(self._reader.height(job), self._statistic(job), self.resolve(job.name))
        return form is not None and fuse(form, self._reader, job, start, stop, out)

    def _merged(self, job: Job, first: int, last: int, stat: Any) -> Float[Tensor, "entries"]:
        part = self._reader.read(job, first, last)
        stack, uniform, statistics = part.block
        merged = self._method.apply(stack, stat, uniform, self.resolve(job.name), statistics, **self._told(job))
        result = merged.reshape(-1) if part.base is None else added(part.base, merged.reshape(-1))
        return finite_or_nan(result, stack.reshape(len(stack), -1))

    def _told(self, job: Job) -> dict[str, Any]:
        """What a method wants to know of the tensor: its linear maps, its depth."""
        told: dict[str, Any] = {}
        if self._method.of_matrices:
            told["matrices"] = matrices_of(job.name, job.spec.shape, self.config)
        if self._method.of_depth:
            told["depth"] = self._depths[job.name]
        return told

    @cached_property
    def _depths(self) -> Mapping[str, float | None]:
        return depths(self._jobs)

    def _stacks(self, jobs: Sequence[Job], params: Mapping[str, Any]) -> Stacks:
        return Stacks(self._reader, jobs, partial(self._of_model, self._reader.present(jobs[0]), params))

    def _of_model(self, present: Sequence[int], params: Mapping[str, Any], statistic: Callable[[Blocks], Any]) -> Any:
        """Once for all tensors that have the same parameters and are in the same models."""
        computed = [job for job in self._jobs.values() if not job.copied and self._reader.present(job) == present]
        return self._once((*present, *params.values()), lambda: statistic(self._stacks(computed, params)))
