"""A search as a plan: which optimizer moves which coordinates of which expression.

    search:
      optimizer: {pso: {particles: 20, populate: {range: code}}}
      space: {linear: {models: [a, b, c], weight: {free: [-0.5, 1.5]}}}
      base: o

`free` marks a coordinate; in the place of a value that each model has its own of, it is one for each. Where the
weights of `linear`, `merge_adapters` or `token_swarm` are free, and nothing else, a point is a combination of experts:
the search starts from the experts and may leave the interval; `base` then adds a model before them. `data_flow` in the
place of an expression searches paths through layers. Imports no torch unless layers have to be counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consort.core.errors import BadPlan, ConsortError, did_you_mean
from consort.core.files import read_stdin
from consort.core.params import bind
from consort.data.yaml import load_documents
from consort.plan.expression import Node, dump, parse
from consort.plan.search.data_flow import NAME as DATA_FLOW
from consort.plan.search.data_flow import open_flow, units_of
from consort.plan.search.template import SPACE, Open, groups_of, singles_of, template_of
from consort.search.engine.domain import Domain, coefficient_domain
from consort.search.marks import Free, coordinates, filled, is_single, read_mark
from consort.search.optimizers import optimizers

if TYPE_CHECKING:
    from consort.search.spaces.data_flow import DataFlow
    from consort.weights.checkpoint import Checkpoint

SEARCH_KEYS = ("optimizer", "space", "base", "utility")
DOCUMENT_KEYS = ("models", "search", "seed")
COMBINING = {"linear": "weights", "merge_adapters": "adapters", "token_swarm": "models"}
"""Calls whose free weights make a point a combination of experts, and the space that they are."""
SHARED = ("domain", "seed")
DENSITY = 0.2
"""Share of entries that a sparsified expert keeps (PSO-Merging gives no figure)."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A checked search. `space` is "weights", "adapters" or "models"; `experts` are what is combined, if that is all.

    `template` holds plain values with a `Free` at each coordinate; `base` and `experts` are plain expressions. A space
    of paths has `path` in its place. `units` are the points that are single models, where not all starts are.
    `utility` is what is maximised, empty for the task's own score (`recipes.objective`).
    """

    optimizer: str
    params: Mapping[str, Any]
    space: str
    template: Any
    domain: Domain
    base: Any = None
    experts: tuple[Any, ...] = ()
    seed: int = 0
    names: Mapping[str, Any] = field(default_factory=dict)
    utility: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, Sequence[float]] = field(default_factory=dict)
    path: DataFlow | None = None

    def expression(self, point: Sequence[float]) -> Any:
        """The plan of what `point` stands for: plain YAML values, model names resolved."""
        if self.path is not None:
            from consort.plan.objects import to_plan

            return to_plan(self.path.checkpoint(point))
        free = coordinates(self.template)
        return dump(self.node(filled(self.template, point[len(point) - len(free) :])))

    def resolved(self, expression: Any) -> Any:
        """A plain expression with the plan's own model names resolved."""
        return dump(self.node(expression))

    def node(self, expression: Any) -> Node:
        """A plain expression, checked, with the plan's own model names."""
        return parse({"models": dict(self.names), "plan": expression}).root


def is_search(document: Any) -> bool:
    """Whether a plan's document describes a search."""
    return isinstance(document, Mapping) and "search" in document


def read_search(
    source: str | Path | Mapping[str, Any], *, seed: int | None = None, allow_remote_code: bool = False
) -> SearchPlan:
    """The search of a YAML file, of standard input ("-") or of a document. `seed` overrides the document's.

    A space of layers opens models, with `allow_remote_code` those that bring code too. Raises ConsortError.
    """
    return _search(source if isinstance(source, Mapping) else document_of(source), seed, allow_remote_code)


def document_of(source: str | Path) -> Mapping[str, Any]:
    """The document of a search's YAML file or of standard input ("-"). Raises BadPlan."""
    text = str(source)
    documents = load_documents(read_stdin("plan", BadPlan) if text == "-" else Path(text))
    if len(documents) != 1 or not is_search(documents[0]):
        hint = "search: {optimizer: pso, space: {linear: {models: [a, b], weight: {free: [0, 1]}}}}"
        raise BadPlan("describes no search", field=text, hint=hint)
    found: Mapping[str, Any] = documents[0]
    return found


def _search(document: Mapping[str, Any], seed: int | None, allow_remote_code: bool) -> SearchPlan:
    _only(document, DOCUMENT_KEYS, "plan")
    body = document["search"]
    if not isinstance(body, Mapping):
        raise BadPlan(f"{body!r} is not a mapping", field="search", hint="write optimizer: and space:")
    _only(body, SEARCH_KEYS, "search")
    for key in SEARCH_KEYS[:2]:
        if body.get(key) is None:
            hint = {"optimizer": "pso", "space": "{linear: {models: [a, b], weight: {free: [0, 1]}}}"}[key]
            raise BadPlan(f"there is no {key}", field=f"search.{key}", hint=f"{key}: {hint}")
    names = document.get("models") or {}
    utility = body.get("utility") or {}
    if not isinstance(utility, Mapping):
        hint = "utility: {reward: lab:reward}, or leave it out for the task's own score"
        raise BadPlan(f"{utility!r} is no utility", field="search.utility", hint=hint)
    own = parse({"models": names, "plan": "x", "seed": document.get("seed", 0)}).seed
    name, given = _optimizer(body["optimizer"])
    populate, params = _bound(name, given)
    seed = own if seed is None else seed
    opened = partial(_opened, names, seed, allow_remote_code)
    found = _space(body["space"], body.get("base"), populate, names, opened)
    if found.get("path") and any(p.name == "start" for p in optimizers.entry(name).params):
        params = {"start": found["domain"].starts[0], **params}
    return SearchPlan(name, params, **found, seed=seed, names=names, utility=utility)


def _opened(names: Mapping[str, Any], seed: int, allow_remote_code: bool, expression: Any) -> Checkpoint:
    """The checkpoint of a plain expression in the space."""
    from consort.plan.build import Builder

    node = _checked(expression, names)
    if node.produces != "checkpoint":
        hint = "a folder or a merge: a strategy that decides at run time has no layers"
        raise BadPlan(f"{next(iter(expression), '')} is not a checkpoint", field=SPACE, hint=hint)
    found: Checkpoint = Builder(seed, allow_remote_code).build(node, "checkpoint")
    return found


def _optimizer(value: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping) or len(value) != 1:
        raise BadPlan(f"{value!r} is no optimizer", field="search.optimizer", hint="pso, or pso: {particles: 20}")
    [(name, given)] = value.items()
    if given is not None and not isinstance(given, Mapping):
        hint = "write `pso: {particles: 20}`; docs/search.md lists the optimizers"
        raise BadPlan(f"{name} takes named arguments, not {given!r}", field=f"search.optimizer.{name}", hint=hint)
    return str(name), dict(given or {})


def _bound(name: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the space is asked for in `populate`, and the optimizer's own parameters, checked."""
    where = "search.optimizer"
    try:
        params = [p for p in optimizers.entry(name).params if p.name not in SHARED]
    except ConsortError as error:
        error.field = f"{where}.{name}"
        raise
    flat, populate = _flat(given) if name == "pso" else (dict(given), {})
    try:
        bound = bind(name, params, flat)
    except ConsortError as error:
        raise error.within(f"{where}.{name}") from None
    return populate, {key: bound[key] for key in flat if key in bound}


def _flat(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """pso's parameters, where `populate: {range: code}` stands for `populate_range: code`; and what asks for members.

    `populate: sparsified` (with a `density`) and `populate: {extra: true}` are properties of the space.
    """
    flat: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}_{inner}": v for inner, v in value.items()})
        else:
            flat[key] = value
    if flat.get("repel") is False:
        flat["repel"] = 0
    asked = {key: flat.pop(f"populate_{key}") for key in ("extra", "density") if f"populate_{key}" in flat}
    asked["sparsified"] = flat.get("populate") == "sparsified" or "density" in asked
    if asked["sparsified"]:
        flat["populate"] = "none"
    return flat, {key: value for key, value in asked.items() if value is not False}


def _space(
    space: Any, base: Any, populate: Mapping[str, Any], names: Mapping[str, Any], opened: Open
) -> dict[str, Any]:
    """What a `SearchPlan` has of a checked space."""
    if not isinstance(space, Mapping) or len(space) != 1:
        hint = "an expression such as {linear: {models: [a, b], weight: {free: [0, 1]}}}"
        raise BadPlan(f"{space!r} is not an expression", field="search.space", hint=hint)
    [(name, arguments)] = space.items()
    if str(name) in COMBINING and _only_weights_free(arguments, opened):
        return _combination(str(name), dict(arguments), base, populate, names)
    if populate or base is not None:
        what = "base" if base is not None else "populate"
        hint = f"free weights of {', '.join(COMBINING)}, and nothing else free; or put the base into the expression"
        raise BadPlan(f"{what} belongs to combinations of experts", field=f"search.{what}", hint=hint)
    if name == DATA_FLOW:
        flow = open_flow(arguments, opened)
        experts = tuple(arguments["models"])
        paths = units_of(flow, [_label(e) for e in experts])
        domain = replace(flow.domain, starts=tuple(paths.values()))
        found = {"space": "weights", "template": None, "domain": domain}
        return {**found, "experts": experts, "units": paths, "path": flow}
    template = template_of(space, opened)
    free = coordinates(template)
    if not free:
        hint = "write {free: [0, 1]} in the place of a number"
        raise BadPlan("there is no free coordinate", field="search.space", hint=hint)
    low, high = [f.low for f in free], [f.high for f in free]
    node = [_checked(filled(template, end), names) for end in (low, high)][0]
    starts, units = singles_of(free), {}
    if free[0].name.startswith(f"{SPACE}.{name}.weight"):
        starts = starts if len(starts) == len(arguments["models"]) else ()
        units = dict(zip(map(_label, arguments["models"]), starts, strict=False))
    domain = Domain(low, high, tuple(f.name for f in free), starts, groups_of(free))
    kind = "weights" if node.produces == "checkpoint" else "models"
    return {"space": kind, "template": template, "domain": domain, "units": units}


def _only_weights_free(arguments: Any, opened: Open) -> bool:
    if not isinstance(arguments, Mapping) or not is_single(arguments.get("weight")):
        return False
    others = {key: value for key, value in arguments.items() if key != "weight"}
    return isinstance(others.get("models"), list) and not coordinates(template_of(others, opened))


def _combination(
    name: str, arguments: dict[str, Any], base: Any, populate: Mapping[str, Any], names: Mapping[str, Any]
) -> dict[str, Any]:
    mark = read_mark(arguments["weight"], f"search.space.{name}.weight")
    experts = list(arguments["models"])
    if populate and base is None:
        raise BadPlan("needs the base", field="search.base", hint="base: the model that the experts were tuned from")
    sparse: list[Any] = []
    if populate.get("sparsified"):
        if name != "linear":
            raise BadPlan("sparsifies full weights", field="search.optimizer.pso.populate", hint="take space linear")
        density = populate.get("density", DENSITY)
        sparse = [{"dare_linear": {"models": [e], "base": base, "density": density}} for e in experts]
    labels = [_label(expert) for expert in experts] + [f"sparsified {_label(expert)}" for expert in experts if sparse]
    every = [*experts, *sparse]
    domain = coefficient_domain(
        labels,
        base=None if base is None else _label(base),
        extra=bool(populate.get("extra")),
        start_at_base=bool(sparse),
        low=mark.low,
        high=mark.high,
    )
    members = every if base is None or name == "merge_adapters" else [base, *every]
    weight = [Free(f"{name}.weight[{i}]", mark.low, mark.high) for i in range(len(members))]
    call = {**arguments, "models": members, "weight": weight}
    if name == "linear":
        call["normalize"] = False
    if name == "merge_adapters" and arguments.get("mode") == "factor":
        call["method"] = {"linear": {"normalize": False}}
    template = {name: call}
    _checked(filled(template, [1.0] + [0.0] * (len(members) - 1)), names)
    found = {"space": COMBINING[name], "template": template, "domain": domain}
    return {**found, "base": base, "experts": tuple(every)}


def _checked(expression: Any, names: Mapping[str, Any]) -> Node:
    """The expression at one point, checked; faults are named from `search.space` on."""
    try:
        return parse({"models": dict(names), "plan": expression}).root
    except ConsortError as error:
        if error.field and error.field.startswith("plan"):
            error.field = "search.space" + error.field.removeprefix("plan")
        raise


def _label(expression: Any) -> str:
    """A short name of a member for reports."""
    return expression.rpartition(":")[2] if isinstance(expression, str) else next(iter(expression), "model")


def _only(mapping: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise BadPlan(f"unknown key {key!r}", field=f"{where}.{key}", hint=did_you_mean(str(key), known))
