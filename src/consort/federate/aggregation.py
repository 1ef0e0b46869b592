"""What an aggregator is: a pure function of a state, the clients' updates and the server's memory.

    @aggregator(paper="1602.05629")
    def fedavg(base, updates, memory, *, weighting="samples"): ...

It returns the next state and the next memory. Updates come sorted by their client's name and sums are made in float64
in that order, so the order of arrival changes no bit. States may lie in files: a rule reads one tensor of one client
at a time where it can. Names of further positional arguments ask for more: `clients` is the number of all clients
there are, `round` the number of the round, from 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from consort.core.errors import BadParameter
from consort.core.params import Param, bind, params_of
from consort.federate.aggregators import AGGREGATORS
from consort.federate.local import LocalRule
from consort.federate.state import Memory, State, Update
from consort.weights.disk.stream import one_torch_thread

Space = Literal["entries", "fixed", "factors"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A registered aggregator; called with its parameters it is ready to use.

    `space`: "entries" treats every number alike; "fixed" needs, over all rounds, coordinates that keep their meaning
    (so of LoRA factors only one may be trained); "factors" works on the products of LoRA factors. `robust` rules read
    every client's update by itself; `linear` ones need the weighted mean alone, which is all that secure sums and
    client-level privacy show. `local(**parameters)` is the clients' side, and
    `sends` the role of the server's memory that they need for it.
    """

    name: str
    function: Callable[..., tuple[State, Memory]]
    params: tuple[Param, ...] = ()
    paper: str = ""
    space: Space = "entries"
    robust: bool = False
    linear: bool = False
    local: Callable[..., LocalRule] | None = None
    sends: str = ""
    check: Callable[..., None] | None = None

    def __call__(self, **params: Any) -> Aggregator:
        """The aggregator with these parameters. Raises BadParameter."""
        bound = bind(self.name, self.params, params)
        if self.check:
            self.check(**bound)
        return Aggregator(self, bound)


@dataclass(frozen=True, slots=True)
class Aggregator:
    """A rule with its parameters."""

    rule: Rule
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.rule.name

    def to_plan(self) -> dict[str, dict[str, Any]]:
        """The expression that makes it."""
        known = {p.name: p for p in self.rule.params}
        given = {known[n].plan_name: v for n, v in self.params.items() if n in known and v != known[n].default}
        return {self.name: given}

    def local(self) -> LocalRule:
        """The clients' side of it: plain training where it has none of its own."""
        if self.rule.local is None:
            return LocalRule()
        wanted = inspect.signature(self.rule.local).parameters
        return self.rule.local(**{k: v for k, v in self.params.items() if k in wanted})

    def __call__(
        self,
        base: State,
        updates: Sequence[Update],
        memory: Memory | None = None,
        *,
        clients: int | None = None,
        round: int = 0,
    ) -> tuple[State, Memory]:
        """The next state and memory. Raises BadParameter where there are too few updates for the rule."""
        if not updates:
            raise BadParameter("there are no updates", field=self.name, hint="at least one client must answer")
        ordered = sorted(updates, key=lambda update: update.client)
        asked = inspect.signature(self.rule.function).parameters
        more = {"clients": clients or len(ordered), "round": round}
        known = {name: value for name, value in more.items() if name in asked}
        with one_torch_thread():
            return self.rule.function(base, ordered, memory or {}, **known, **self.params)


def _wrap(
    function: Callable[..., tuple[State, Memory]],
    *,
    paper: str = "",
    space: Space = "entries",
    robust: bool = False,
    linear: bool = False,
    local: Callable[..., LocalRule] | None = None,
    sends: str = "",
    check: Callable[..., None] | None = None,
) -> Rule:
    return Rule(function.__name__, function, params_of(function), paper, space, robust, linear, local, sends, check)


aggregator = AGGREGATORS.registrar(_wrap)
"""The decorator that registers a function as an aggregator; its keyword arguments are the fields of `Rule`."""
