"""From a search plan's space to a template: each mark of a free coordinate read, for each model and layer it is for.

    weight: {free: [0, 1]}                 one coordinate for each model, where each model has its own value
    weight: {free: [0, 1], blocks: 2}      the same for each of two blocks of layers, and for what lies outside them

Layers are counted in the first model of the call, which is opened for it; nothing else opens a model or imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from consort.core.errors import BadPlan, ConsortError
from consort.core.registry import Entry
from consort.plan.kinds import find
from consort.search.marks import BLOCKS, Free, is_mark, read_mark

if TYPE_CHECKING:
    from consort.weights.checkpoint import Checkpoint
    from consort.weights.layers import Layers

Open = Callable[[Any], "Checkpoint"]
"""Opens the model of a plain expression."""
SPACE = "search.space"


def template_of(space: Any, opened: Open) -> Any:
    """Plain values with a `Free` at each coordinate. Raises ConsortError for a mark that cannot stand where it does."""
    return _Reader(opened).read(space, SPACE, None)


class _Call:
    """The call that a mark stands in: which of its parameters each model has its own of, and where its layers are."""

    def __init__(self, name: str, models: Sequence[Any], opened: Open) -> None:
        self.name, self.models, self.opened = name, models, opened
        try:
            registry, entry = find(name)
        except ConsortError:
            self.kind, self.own = "", frozenset[str]()
        else:
            self.kind, self.own = registry.kind, _own(entry)

    @cached_property
    def layers(self) -> Layers:
        from consort.weights.layers import Layers
        from consort.weights.views.stack import origin

        first = self.opened(self.models[0])
        moved = next((name for name in first.keys() if origin(first, name)[1] != name), None)
        if moved is not None:
            hint = "write the stack to a folder first: consort merge PLAN OUT"
            raise BadPlan(f"{first.name} renumbers its layers", field=f"{SPACE}.{self.name}", hint=hint)
        return Layers(first)


class _Reader:
    def __init__(self, opened: Open) -> None:
        self.opened = opened

    def read(self, value: Any, where: str, call: _Call | None) -> Any:
        if is_mark(value):
            return _in_blocks(value, where, call) if BLOCKS in value else read_mark(value, where)
        if isinstance(value, Mapping) and len(value) == 1:
            [(name, arguments)] = value.items()
            if isinstance(arguments, Mapping) and isinstance(arguments.get("models"), list) and arguments["models"]:
                inner = _Call(str(name), arguments["models"], self.opened)
                return {name: {k: self._argument(k, v, f"{where}.{name}.{k}", inner) for k, v in arguments.items()}}
        if isinstance(value, Mapping):
            return {key: self.read(inner, f"{where}.{key}", call) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.read(inner, f"{where}[{i}]", call) for i, inner in enumerate(value)]
        return value

    def _argument(self, key: str, value: Any, where: str, call: _Call) -> Any:
        """An argument; a mark at a parameter that each model has its own of is one mark for each."""
        if key in call.own and is_mark(value):
            return [self.read(value, f"{where}[{i}]", call) for i in range(len(call.models))]
        return self.read(value, where, call)


def _own(entry: Entry) -> frozenset[str]:
    """The parameters of which each model has its own."""
    return frozenset(p.plan_name for p in entry.params if p.per_model or (p.name == "weight" and p.many))


def _in_blocks(mark: Mapping[str, Any], where: str, call: _Call | None) -> dict[str, Any]:
    """Rules by name that give every layer the coordinate of its block, and all else one of its own."""
    free, count = read_mark(mark, where), mark[BLOCKS]
    field = f"{where}.{BLOCKS}"
    if call is None or call.kind != "merge":
        hint = "a merge of full weights, e.g. linear or task_arithmetic; elsewhere write {free: [0, 1]}"
        raise BadPlan("only merges have values by layer", field=field, hint=hint)
    if type(count) is not int or not 1 <= count <= (depth := call.layers.count):
        hint = "a whole number, 1 or more" if type(count) is not int or count < 1 else f"1 to {depth}"
        raise BadPlan(f"{count!r} is no number of blocks of layers", field=field, hint=hint)
    own = [replace(free, name=f"{where} block {block}", block=block) for block in range(count)]
    numbers = enumerate(sorted(call.layers.inside))
    rules = [{"match": f"{call.layers.prefix}{n}.", "value": own[i * count // depth]} for i, n in numbers]
    return {"by_name": [*rules, {"value": replace(free, name=f"{where} outside", block=count)}]}


def groups_of(free: Sequence[Free]) -> tuple[tuple[int, ...], ...]:
    """The coordinates of each block of layers; none where some belong to no block."""
    if any(f.block is None for f in free):
        return ()
    return tuple(
        tuple(i for i, f in enumerate(free) if f.block == block) for block in sorted({f.block or 0 for f in free})
    )


def singles_of(free: Sequence[Free]) -> tuple[tuple[float, ...], ...]:
    """Each model by itself, where all coordinates are the weights of one call and may be 0 and 1."""
    calls = {f.name.partition("[")[0] for f in free}
    if len(calls) > 1 or not next(iter(calls)).endswith(".weight"):
        return ()
    owners = [f.name.partition("]")[0] for f in free]
    if len(set(owners)) < 2 or any(not f.low <= 0 <= 1 <= f.high for f in free):
        return ()
    return tuple(tuple(float(own == model) for own in owners) for model in dict.fromkeys(owners))
