"""Which tensors of the inputs make which tensor of the output: decided from headers and configs alone.

Every tensor of the inputs is merged, or the merge is refused with all faults at once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch

from consort.core.dtypes import FLOATS, dtype_name, torch_dtype
from consort.core.errors import BadParameter, Incompatible, did_you_mean, listing
from consort.merge.engine.missing import Completed
from consort.weights.checkpoint import Checkpoint, Spec
from consort.weights.disk.config_fit import fitted
from consort.weights.family import differences
from consort.weights.tied import Ends, ends_among, ends_of, says_tied

DTYPES = {name: torch_dtype(name) for name in FLOATS}
log = logging.getLogger(__name__)

COPIED = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
SHOWN = 3
"""Tensors named in an error: of models of different sizes nearly all are wrong, and in the same way."""


@dataclass(frozen=True, slots=True)
class Job:
    """How one tensor of the output is made: `sources` names it in each input, "" where an input lacks it.

    `copied` where it is not computed.
    """

    name: str
    spec: Spec
    sources: tuple[str, ...]
    compute: torch.dtype
    copied: bool

    @property
    def partial(self) -> bool:
        """Whether an input lacks it."""
        return "" in self.sources


def labels(inputs: Sequence[Checkpoint]) -> list[str]:
    """Names of the inputs for messages; equal ones are told apart by their number."""
    names = [c.name for c in inputs]
    return [f"{n} (input {i})" if names.count(n) > 1 else n for i, n in enumerate(names, 1)]


def dtype_named(value: torch.dtype | str | None, field: str) -> torch.dtype | None:
    """A floating dtype by name or as it is. Raises BadParameter."""
    if isinstance(value, str):
        value = DTYPES.get(value.removeprefix("torch."), value)
    if value is not None and value not in DTYPES.values():
        hint = did_you_mean(str(value), DTYPES)
        raise BadParameter(f"{value} is not a dtype that a merge can have", field=field, hint=hint)
    return value  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Available:
    """`missing: available`: a tensor is merged from those of the first `models` inputs that have it.

    It must be in `least` of them, and, where there is a base that the method uses, in the base, the last input. What
    only the base has is copied.
    """

    models: int
    least: int
    with_base: bool

    def fault(self, name: str, found: Sequence[str]) -> str | None:
        have = sum(map(bool, found[: self.models]))
        if self.with_base and not found[-1]:
            return f"{name} is missing from the base"
        if have < self.least and (have or not found[self.models :]):
            return f"{name} is in {have} of the models, the method needs {self.least}"
        return None


def match(
    inputs: Sequence[Checkpoint],
    dtype: torch.dtype | None,
    *,
    settled: Collection[str] = (),
    available: Available | None = None,
) -> dict[str, Job]:
    """The jobs by name of the output tensor, in the order of the first input. Raises Incompatible.

    `settled`: configuration keys that may differ.
    """
    specs = [_specs(c) for c in inputs]
    sources = _sources(inputs, specs)
    different = differences([c.config for c in inputs if c.config])
    of_config = [f"config {difference}" for difference in different if difference.key not in settled]
    faults = []
    named, models = labels(inputs), available.models if available else len(inputs)
    jobs = {}
    for name, found in sources.items():
        fault = _fault(name, found, specs, named, available)
        if fault:
            faults.append(fault)
        else:
            mine = [s[n] for s, n in zip(specs, found, strict=True) if n]
            jobs[name] = _job(name, found, mine, dtype, copied=not any(found[:models]))
    if of_config or faults:
        hint = "every tensor must be in every input, with one shape"
        if len(inputs) > 1:
            hint = f"merge models of one architecture and size; {hint} (see `missing` and `config_conflict`)"
            seeing = ["text_config" in c.config or "vision_config" in c.config for c in inputs]
            if any(seeing) and not all(seeing):
                hint = (
                    "merge the language models alone: part: {model: M}, and put it back: assemble: {models: [MERGE], "
                )
                hint += "parts: [text], base: M}"
        told = [listing(of_config)] if of_config else []
        told += [f"{len(faults)} of {len(sources)} tensors: {listing(faults, SHOWN)}"] if faults else []
        raise Incompatible("; ".join(told), hint=hint)
    return jobs


def _specs(checkpoint: Checkpoint) -> dict[str, Spec]:
    names = checkpoint.keys()
    return {name: checkpoint.spec(name) for name in names}


def _sources(inputs: Sequence[Checkpoint], specs: Sequence[Mapping[str, Spec]]) -> dict[str, tuple[str, ...]]:
    """For each output name its name in every input, "" where an input lacks it.

    A tied input contributes its embedding as its head; where all are tied, there is no head.
    """
    ends = [ends_of(c) for c in inputs]
    heads = {end.own_head for end in ends}
    names = dict.fromkeys(name for spec, end in zip(specs, ends, strict=True) for name in spec if name != end.copy)
    return {
        name: tuple(_source(name, name in heads, spec, end) for spec, end in zip(specs, ends, strict=True))
        for name in names
    }


def completed(inputs: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The inputs, of which the last is the base, each with the base's tensors in the place of those it lacks."""
    sources, base = _sources(inputs, [_specs(c) for c in inputs]), inputs[-1]
    lent = [[name for name, found in sources.items() if not found[i] and found[-1] == name] for i in range(len(inputs))]
    return [Completed(c, base, names) if names else c for c, names in zip(inputs, lent, strict=True)]


def _source(name: str, is_head: bool, specs: Mapping[str, Spec], ends: Ends) -> str:
    """What an input has for the output's tensor `name`, "" for nothing; a tied model its embedding for the head."""
    if is_head and ends.tied and ends.embedding:
        return ends.embedding
    return name if name in specs else ""


def _fault(
    name: str,
    found: Sequence[str],
    specs: Sequence[Mapping[str, Spec]],
    names: Sequence[str],
    available: Available | None,
) -> str | None:
    missing = [label for label, source in zip(names, found, strict=True) if not source]
    if missing and not available:
        return f"{name} is missing from {', '.join(missing)}"
    if missing and available and (fault := available.fault(name, found)):
        return fault
    mine = [spec[source] for spec, source in zip(specs, found, strict=True) if source]
    if len({s.shape for s in mine}) > 1:
        have = [label for label, source in zip(names, found, strict=True) if source]
        shapes = ", ".join(f"{list(s.shape)} in {label}" for s, label in zip(mine, have, strict=True))
        return f"{name} is {shapes}"
    odd = {s.dtype for s in mine} - set(DTYPES.values()) - COPIED
    if odd:
        return f"{name} is {_listed(odd)}: quantised tensors cannot be merged, dequantise them first"
    if any(s.dtype in COPIED for s in mine) and len({s.dtype for s in mine}) > 1:
        return f"{name} is {_listed({s.dtype for s in mine})}"
    return None


def _listed(dtypes: set[torch.dtype]) -> str:
    return ", ".join(sorted(str(d).removeprefix("torch.") for d in dtypes))


def _job(name: str, sources: tuple[str, ...], specs: Sequence[Spec], dtype: torch.dtype | None, *, copied: bool) -> Job:
    promoted = reduce(torch.promote_types, (s.dtype for s in specs))
    compute = torch.float64 if promoted == torch.float64 else torch.float32
    out = promoted if promoted in COPIED else dtype or natural_dtype([s.dtype for s in specs])
    return Job(name, Spec(specs[0].shape, out), sources, compute, copied or promoted in COPIED)


def natural_dtype(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    """The dtype of a merge that was told none: the promotion of the inputs', of two 16-bit types the first's.

    Neither of bfloat16 and float16 holds the other, and float32, which holds both, would double the size.
    """
    promoted = reduce(torch.promote_types, dtypes)
    halves = {dtype for dtype in dtypes if dtype.itemsize == 2}
    return dtypes[0] if len(halves) == 2 and set(dtypes) == halves else promoted


def tell_dtypes(inputs: Sequence[Checkpoint], jobs: Mapping[str, Job], dtype: torch.dtype | None) -> None:
    """Warns where inputs of several floating types were given and no type for the output."""
    if dtype is not None:
        return
    for job in jobs.values():
        own = [c.spec(source).dtype for c, source in zip(inputs, job.sources, strict=True) if source]
        if job.copied or len(set(own)) == 1:
            continue
        names = ", ".join(map(dtype_name, dict.fromkeys(own)))
        taken = dtype_name(job.spec.dtype)
        why = "that of the first model" if job.spec.dtype == own[0] else "which holds them all"
        larger = ", larger than the first model's" if job.spec.dtype.itemsize > own[0].itemsize else ""
        log.warning("inputs of %s: the output is %s, %s%s; `dtype: ...` chooses another", names, taken, why, larger)
        return


def merged_config(donor: Checkpoint, jobs: Mapping[str, Job]) -> dict[str, Any]:
    """The donor's config, made to fit the output; untied where the output has a head and an input had none.

    So is it where it says tied and the output has a head: that of an input whose file holds one of its own.
    """
    specs = {name: job.spec for name, job in jobs.items()}
    head = ends_among(specs, donor.config)[1]
    borrowed = head is not None and set(jobs[head].sources) - {""} != {head}
    own = head is not None and says_tied(donor.config) is True
    return fitted(donor.config, specs, untied=borrowed or own)
