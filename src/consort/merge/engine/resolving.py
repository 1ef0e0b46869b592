"""Parameters of each tensor: schedules over layers and names resolved, before anything is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from consort.core.errors import BadParameter, ConsortError, listing, together
from consort.core.params import REQUIRED, Param
from consort.core.schedule import UNMATCHED, is_schedule, texts, value_at
from consort.merge.engine.matching import Job
from consort.merge.method import Method
from consort.weights.checkpoint import Checkpoint
from consort.weights.layers import after_layers, split
from consort.weights.views.stack import Stack, origin

Resolve = Callable[[str], Mapping[str, Any]]


def resolver(
    method: Method, bound: Mapping[str, Any], jobs: Mapping[str, Job], models: Sequence[Checkpoint]
) -> Resolve:
    """The parameters by tensor name. Raises BadParameter for what makes no sense together in one of the tensors."""
    if not any(is_schedule(v) for value in bound.values() for v in (value if isinstance(value, tuple) else (value,))):
        method.refuse(bound)
        return _constant(method, bound, jobs)
    computed = [job for job in jobs.values() if not job.copied]
    _refuse_unmatched(method, bound, computed, models)
    depth = depths(jobs)
    known: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    found, faults = {}, dict[str, ConsortError]()
    for job in computed:
        names = [_name_in(model, job, source) for model, source in zip(models, job.sources, strict=False)]
        params: Mapping[str, Any] = {
            p.name: _value(p, bound[p.name], job.name, names, depth[job.name]) for p in method.params
        }
        missing = [p.plan_name for p in method.params if UNMATCHED in _each(params[p.name])]
        if missing:
            hint = "end the rules with one without `match`"
            fault = BadParameter(f"no rule matches {job.name}", field=missing[0], hint=hint)
            faults.setdefault(missing[0], fault)
            continue
        params = _of_present(method, params, job)
        key = tuple(params.values())
        if key not in known:
            known[key] = params
            _refuse(method, params, job.name, faults)
        found[job.name] = known[key]
    if faults:
        raise together(faults.values())
    return found.__getitem__


def _constant(method: Method, bound: Mapping[str, Any], jobs: Mapping[str, Job]) -> Resolve:
    """The same for all tensors but those that a model lacks."""
    known: dict[tuple[bool, ...], Mapping[str, Any]] = {}
    found, faults = {}, dict[str, ConsortError]()
    for job in jobs.values():
        if job.partial and not job.copied:
            key = tuple(map(bool, job.sources))
            if key not in known:
                known[key] = _of_present(method, bound, job)
                _refuse(method, known[key], job.name, faults)
            found[job.name] = known[key]
    if faults:
        raise together(faults.values())
    return lambda name: found.get(name, bound)


def _of_present(method: Method, params: Mapping[str, Any], job: Job) -> Mapping[str, Any]:
    """Values for each model: those of the models that have the tensor."""
    if not job.partial:
        return params
    each = {p.name for p in method.params if p.per_model}
    return {
        name: tuple(v for v, source in zip(value, job.sources, strict=False) if source) if name in each else value
        for name, value in params.items()
    }


def depths(names: Iterable[str]) -> dict[str, float | None]:
    """Where each tensor lies, from 0 to 1: layer j of the n of its stack at j / (n - 1); None after the layers."""
    split_names = {name: split(name) for name in names}
    stacks: dict[str, set[int]] = {}
    for part in split_names.values():
        if part:
            stacks.setdefault(part[0], set()).add(part[1])
    rank = {prefix: {layer: j for j, layer in enumerate(sorted(layers))} for prefix, layers in stacks.items()}
    found: dict[str, float | None] = {}
    for name, part in split_names.items():
        if part is None:
            found[name] = None if after_layers(name) else 0.0
        else:
            n = len(rank[part[0]])
            found[name] = rank[part[0]][part[1]] / (n - 1) if n > 1 else 1.0
    return found


def _value(p: Param, value: Any, name: str, names: Sequence[str], depth: float | None) -> Any:
    """The value for one tensor: rules look at the output's name, those of per-model parameters at each input's."""
    if not p.per_model:
        return _or_default(p, value, name, depth)
    return tuple(_or_default(p, v, own, depth) for v, own in zip(value, names, strict=True))


def _or_default(p: Param, value: Any, name: str, depth: float | None) -> Any:
    found = value_at(value, name, depth)
    return p.default if found is UNMATCHED and not (value.required or p.default is REQUIRED) else found


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _refuse(method: Method, params: Mapping[str, Any], name: str, faults: dict[str, ConsortError]) -> None:
    try:
        method.refuse(params)
    except BadParameter as fault:
        fault.message += f" (in {name})"
        faults.setdefault(str(fault.field), fault)


def _name_in(model: Checkpoint, job: Job, source: str) -> str:
    """The name of a tensor in an input, below any restacking; of a tied head it is that of the head."""
    return origin(model, source)[1] if source == job.name else job.name


def _refuse_unmatched(
    method: Method, bound: Mapping[str, Any], jobs: Sequence[Job], models: Sequence[Checkpoint]
) -> None:
    """Every text that a rule looks for must be in the name of some tensor.

    Where layers are restacked this merge may be one slice of many, and a rule for another one is no fault: numbers in
    the text then stand for any number.
    """
    own = [job.name for job in jobs]
    faults = []
    for p in method.params:
        for i, value in enumerate(_each(bound[p.name])):
            wanted = dict.fromkeys(texts(value))
            if not wanted:
                continue
            names = [_name_in(models[i], job, job.sources[i]) for job in jobs] if p.per_model else own
            absent = [text for text in wanted if not any(text in name for name in names)]
            absent = [text for text in absent if not _in_a_slice(text, names, models)]
            faults += [f"{p.plan_name}: no tensor has {text!r} in its name" for text in absent]
    if faults:
        hint = "a rule matches the names that contain its text, e.g. self_attn, mlp, layers.3."
        raise BadParameter(listing(dict.fromkeys(faults)), hint=hint)


def _in_a_slice(text: str, names: Sequence[str], models: Sequence[Checkpoint]) -> bool:
    if not any(isinstance(model, Stack) for model in models):
        return False
    pattern = re.compile(r"\d+".join(map(re.escape, re.split(r"\d+", text))))
    return any(pattern.search(name) for name in names)
