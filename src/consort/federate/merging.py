"""Merge methods as aggregators: the clients are the models, the state they were given is the base.

A method that works on differences needs nothing else. LoRA factors are no models: their products are, so the changes
of the products are merged and go, as dense matrices, to the frozen weights, while the factors begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter, Unsupported
from consort.core.params import bind
from consort.federate.aggregation import Aggregator, Rule
from consort.federate.averaging import kept
from consort.federate.low_rank import Factors, factors_of, modules_of, other_names, with_factors
from consort.federate.state import Memory, State, Update
from consort.merge.arithmetic.randomness import stream_key, uniform
from consort.merge.method import Method
from consort.merge.registry import methods


def merging_names() -> list[str]:
    """The merge methods that work on differences and need nothing but them."""
    found = methods.entries().items()
    return [n for n, e in found if e.options.get("on") == "deltas" and not e.options.get("statistics")]


def merging(name: str, params: Mapping[str, Any], *, seed: int = 0) -> Aggregator:
    """The merge method `name` as an aggregator. Raises Unsupported for one that does not work on differences."""
    if name not in merging_names():
        hint = f"one of {', '.join(merging_names())}"
        raise Unsupported("does not merge by differences from a base alone", field=name, hint=hint)
    method = methods.get(name)
    method.refuse(bind(name, method.params, params, 1) if not _lists(params) else {})
    rule = Rule(name, _function(method, seed), paper=method.paper, params=method.params)
    return Aggregator(replace(rule, space="entries"), dict(params))


def _lists(params: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Sequence) and not isinstance(value, str) for value in params.values())


def _function(method: Method, seed: int) -> Any:
    def merged(
        base: State, updates: Sequence[Update], memory: Memory, round: int, **params: Any
    ) -> tuple[State, Memory]:
        if len(updates) < method.inputs[0] or len(updates) > (method.inputs[1] or len(updates)):
            low, high = method.inputs
            what = f"merges {low} to {high or 'any number of'} models, not {len(updates)}"
            raise BadParameter(what, field=method.name, hint="take as many clients in a round")

        def one(name: str, deltas: Float[Tensor, "client *shape"]) -> Tensor:
            drawn = _drawn(deltas, seed, method.name, f"{round}:{name}") if method.random else None
            return method(deltas, uniform=drawn, **params)

        names, modules = other_names(base), modules_of(base)
        done = {m + end for m in modules for end in (".lora_A.weight", ".lora_B.weight")}
        state = kept(base, [*names, *done])
        for name in names:
            deltas = torch.stack([(u.state[name].double() - base[name].double()).float() for u in updates])
            state[name] = (base[name].double() + one(name, deltas).double()).to(base[name].dtype)
        for module in modules:
            old = factors_of(base, module)
            start = old.product()
            deltas = torch.stack([(factors_of(u.state, module).product() - start).float() for u in updates])
            whole = start + one(module, deltas).double()
            state |= with_factors(base, module, Factors(torch.zeros_like(old.b), old.a), whole)
        return state, {}

    return merged


def _drawn(deltas: Tensor, seed: int, method: str, name: str) -> Float[Tensor, "client *shape"]:
    """Uniform numbers of every entry, by method, round and tensor (`name`), and the client's place."""
    size = deltas[0].numel()
    rows = [uniform(stream_key(seed, method, name, place), 0, size) for place in range(len(deltas))]
    return torch.stack(rows).view(deltas.shape)
