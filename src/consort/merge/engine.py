"""The merge of checkpoints is a checkpoint: each tensor is computed, in float32, when it is read.

The engine owns what every method would otherwise repeat: names, shapes, dtypes, the base, parameters, statistics,
random numbers, integer and tied tensors. A method sees the stacked tensors of one name and returns one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter, ConsortError
from consort.core.params import bind
from consort.merge.arithmetic import added
from consort.merge.blocks import Blocks, ranges
from consort.merge.cache import Once
from consort.merge.matching import Job, dtype_named, match, merged_config
from consort.merge.method import Method
from consort.merge.reading import Reader, Stacks
from consort.merge.registry import methods
from consort.merge.resolving import resolver
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, round_into
from consort.weights.stack import identity
from consort.weights.stats import check_statistics, verify
from consort.weights.vocab import align_vocabularies

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
    dtype: torch.dtype | str | None = None,
    out_dtype: torch.dtype | str | None = None,
    **params: Any,
) -> Merged:
    """The merge of `models` by the method `name`, with the method's own parameters; nothing is read yet.

    `statistics`: for a method that wants them, what was collected of each model, in their order (see `weights.stats`).
    `tokenizer`: how models of different vocabularies are brought to one (see `weights.vocab_policy`).
    The output has dtype `out_dtype`, else `dtype`, else the promotion of the inputs'. `seed` decides every draw.
    An entry that is NaN or infinite in an input is NaN in the merge: no vote and no threshold hides it.
    Raises UnknownName, BadParameter and Incompatible.
    """
    return Merged(
        name,
        models,
        base=base,
        statistics=statistics,
        seed=seed,
        tokenizer=tokenizer,
        dtype=dtype,
        out_dtype=out_dtype,
        params=params,
    )


class Merged:
    """A merge, itself a checkpoint. Use `merge`; the attributes are its arguments as given, `params` by Python name."""

    def __init__(
        self,
        method: str,
        models: Sequence[Checkpoint],
        *,
        base: Checkpoint | None = None,
        statistics: Sequence[Checkpoint] | None = None,
        seed: int = 0,
        tokenizer: Any = None,
        dtype: torch.dtype | str | None = None,
        out_dtype: torch.dtype | str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.method, self.models, self.base, self.seed = method, tuple(models), base, seed
        self.statistics = None if statistics is None else tuple(statistics)
        self.tokenizer, self.dtype, self.out_dtype = tokenizer, dtype, out_dtype
        self._method = methods.get(method)
        names = {p.plan_name: p.name for p in self._method.params}
        self.params = {names.get(key, key): value for key, value in (params or {}).items()}
        _check_inputs(self._method, self.models, base)
        bound = bind(method, self._method.params, self.params, len(self.models), schedules=True)
        wanted = dtype_named(out_dtype, "out_dtype") or dtype_named(dtype, "dtype")
        self._merged_inputs = tuple(align_vocabularies(self.models, base, tokenizer))
        self._jobs = match(self._merged_inputs, wanted)
        self._params = resolver(self._method, bound, self._jobs, self.models)
        self.config: Mapping[str, Any] = merged_config(self._donor, self._jobs)
        self.name = f"{method}({', '.join(c.name for c in self._merged_inputs)})"
        aligned, under = self._merged_inputs[: len(models)], self._merged_inputs[-1] if base is not None else None
        _check_statistics(self._method, aligned, self.statistics)
        self._reader = Reader(self._method, aligned, under, seed, self.statistics or ())
        self._verified = False
        self._once: Once[Any] = Once(1 if self._method.grain == "tensor" else KEPT)

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        """The models, then the base, then the statistics."""
        return (*self._merged_inputs, *(self.statistics or ()))

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
        return list(self._jobs)

    def spec(self, name: str) -> Spec:
        return self._job(name).spec

    def files(self) -> Mapping[str, Path | bytes]:
        return self._donor.files()

    def resolve(self, name: str) -> Mapping[str, Any]:
        """The checked parameters of the tensor `name`; schedules make them differ."""
        return self._params(name)

    def identity(self, name: str) -> tuple[Any, ...]:
        """Equal for tensors that are computed alike from the same inputs (see `weights.stack.identity`)."""
        sources = zip(self._merged_inputs, self._job(name).sources, strict=True)
        drawn = (self.seed, name) if self._method.random else ()
        params = tuple(self.resolve(name).values())
        found = (identity(checkpoint, source) for checkpoint, source in sources)
        return (self.method, params, drawn, *map(id, self.statistics or ()), *found)

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

    def _job(self, name: str) -> Job:
        if name not in self._jobs:
            raise no_tensor(self, name)
        return self._jobs[name]

    def _compute(self, job: Job, start: int, stop: int, out: Tensor) -> None:
        for first, last in ranges(job.spec.shape, self._reader.grain(job), start, stop):
            result = self._block(job, first, last)
            low, high = max(first, start), min(last, stop)
            round_into(result[low - first : high - first], out[low - start : high - start])

    def _block(self, job: Job, first: int, last: int) -> Float[Tensor, "entries"]:
        """Entries [first, last) before rounding; a method of grain "tensor" is computed once for all of them."""
        if self._reader.grain(job) == "tensor":
            whole: Tensor = self._once(job.name, lambda: self._merged(job, 0, job.spec.numel, None))
            return whole
        params = self.resolve(job.name)
        stat = self._once(job.name, lambda: self._method.measure(self._stacks([job], params), params))
        return self._merged(job, first, last, stat)

    def _merged(self, job: Job, first: int, last: int, stat: Any) -> Float[Tensor, "entries"]:
        part = self._reader.read(job, first, last)
        stack, uniform, statistics = part.block
        merged = self._method.apply(stack, stat, uniform, self.resolve(job.name), statistics)
        result = merged.reshape(-1) if part.base is None else added(part.base, merged.reshape(-1))
        if all(isfinite(float(tensor.sum())) for tensor in stack):
            return result
        return torch.where(stack.isfinite().all(0).view(-1), result, torch.nan)

    def _stacks(self, jobs: Sequence[Job], params: Mapping[str, Any]) -> Stacks:
        return Stacks(self._reader, jobs, partial(self._of_model, params))

    def _of_model(self, params: Mapping[str, Any], statistic: Callable[[Blocks], Any]) -> Any:
        """Once for all tensors that have the same parameters."""
        computed = [job for job in self._jobs.values() if not job.copied]
        return self._once(tuple(params.values()), lambda: statistic(self._stacks(computed, params)))


def _check_inputs(method: Method, models: Sequence[Checkpoint], base: Checkpoint | None) -> None:
    least, most = method.inputs
    if len(models) < least or (most is not None and len(models) > most):
        wanted = f"{least} or more models" if most is None else f"{least} model{'s' if least > 1 else ''}"
        raise BadParameter(f"{method.name} merges {wanted}, not {len(models)}", field="models")
    if method.base == "required" and base is None:
        hint = "base: the model that the others were made from"
        raise BadParameter(f"{method.name} needs a base", field="base", hint=hint)


def _check_statistics(method: Method, models: Sequence[Checkpoint], statistics: Sequence[Checkpoint] | None) -> None:
    given = len(statistics or ())
    if not method.statistics and given:
        raise BadParameter(f"{method.name} uses no statistics", field="statistics", hint="leave them out")
    if not method.statistics:
        return
    if given != len(models):
        hint = f"`consort collect {method.statistics}` makes them, in the order of the models"
        message = f"{method.name} needs statistics of each of the {len(models)} models, not {given}"
        raise BadParameter(message, field="statistics", hint=hint)
    for model, found in zip(models, statistics or (), strict=True):
        check_statistics(found, method.statistics, model)
