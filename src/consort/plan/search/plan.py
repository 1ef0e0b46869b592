"""A search as a plan: which optimizer moves which coordinates of which expression.

    search:
      optimizer: {pso: {particles: 20, populate: {range: code}}}
      space: {linear: {models: [a, b, c], weight: {free: [-0.5, 1.5]}}}
      base: o

`free` marks a coordinate; in the place of a value that each model has its own of, it is one for each. A registered
space (`consort methods --kind space`) may stand in the place of the expression. Where the weights of `linear` or
another call that such a space names are free, and nothing else is, a point is a combination of experts: the search
starts from the experts and may leave the interval; `base` then adds a model before them. Imports no torch unless models
have to be opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from consort.core.errors import BadPlan, did_you_mean
from consort.core.files import read_stdin
from consort.data.yaml import load_documents
from consort.plan.expression import Call, Node, Plan, dump, parse
from consort.plan.search.optimizer import read_optimizer
from consort.plan.search.space import opened, read_space
from consort.plan.search.utility import read_utility
from consort.search.engine.domain import Domain
from consort.search.marks import coordinates, filled

SEARCH_KEYS = ("optimizer", "space", "base", "utility")
DOCUMENT_KEYS = ("models", "search", "seed")


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A checked search. `space` is the name of a space, and a point `makes` a checkpoint, an adapter or a model.

    `template` holds plain values with a `Free` at each coordinate; `base` and `experts` are plain expressions, these
    what is combined, if that is all. A registered space has `made`, the object, in the template's place. `units` are
    the points that are single models, where not all starts are. `utility` is the call of what is maximised.
    """

    optimizer: str
    params: Mapping[str, Any]
    space: str
    template: Any
    domain: Domain
    utility: Call
    makes: str = "checkpoint"
    base: Any = None
    experts: tuple[Any, ...] = ()
    seed: int = 0
    names: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, Sequence[float]] = field(default_factory=dict)
    made: Any = None

    def expression(self, point: Sequence[float]) -> Any:
        """The plan of what `point` stands for: plain YAML values, model names resolved."""
        if self.made is not None:
            from consort.plan.objects import to_plan

            return to_plan(getattr(self.made, self.makes)(point))
        free = coordinates(self.template)
        return dump(self.node(filled(self.template, point[len(point) - len(free) :])))

    def resolved(self, expression: Any) -> Any:
        """A plain expression with the plan's own model names resolved."""
        return dump(self.node(expression))

    def plan_of(self, expression: Any) -> Plan:
        """A plain expression as a plan of its own."""
        return Plan(self.node(expression))

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
    own = parse({"models": names, "plan": "x", "seed": document.get("seed", 0)}).seed
    seed = own if seed is None else seed
    optimizer = read_optimizer(body["optimizer"])
    utility = read_utility(body.get("utility"), names)
    opens = partial(opened, names, seed, allow_remote_code)
    found = read_space(body["space"], body.get("base"), optimizer.asked, names, opens)
    return SearchPlan(optimizer.name, optimizer.params, **found, seed=seed, names=names, utility=utility)


def _only(mapping: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise BadPlan(f"unknown key {key!r}", field=f"{where}.{key}", hint=did_you_mean(str(key), known))
