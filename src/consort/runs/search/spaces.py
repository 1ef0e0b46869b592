"""From a search plan to the space it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consort.core.errors import BadParameter, BadPlan
from consort.core.journal import key_of
from consort.plan.build import Builder
from consort.plan.expression import Reference
from consort.plan.search.plan import SearchPlan
from consort.runs.sources import sources_of
from consort.search.engine.scores import rounded
from consort.search.engine.space import Built, Evaluated, Packed, Refilled
from consort.search.packed.lora import Form
from consort.weights import describe
from consort.weights.checkpoint import Checkpoint, leaves

PACK = 16
"""Particles that are evaluated in one batch."""


def open_space(plan: SearchPlan, builder: Builder, *, pack: int = PACK) -> Evaluated:
    """The space of a plan, its inputs opened and checked. Raises ConsortError."""
    inputs = inputs_of(plan, builder)
    key = key_of([[describe(leaf) for leaf in leaves(c)] for c in inputs] + [plan.expression(plan_first(plan))])
    build_at(plan, builder, plan_first(plan), plan.makes)
    if plan.makes == "model":
        return Built(plan.domain, key, lambda point: build_at(plan, builder, point, "model"))
    if plan.makes == "checkpoint":
        return Refilled(plan.domain, key, lambda point: build_at(plan, builder, point, "checkpoint"))
    return _adapters(plan, builder, key, pack)


def plan_first(plan: SearchPlan) -> Sequence[float]:
    """A point that makes sense: the first start, else the lower corner."""
    return plan.domain.starts[0] if plan.domain.starts else plan.domain.low


def build_at(plan: SearchPlan, builder: Builder, point: Sequence[float], wanted: str) -> Any:
    """What `point` stands for. Points are built aside: thousands of them would fill the builder's memory."""
    if plan.made is not None:
        return getattr(plan.made, plan.makes)(point)
    return builder.aside().build(plan.node(plan.expression(point)), wanted)


def inputs_of(plan: SearchPlan, builder: Builder) -> list[Checkpoint]:
    """The checkpoints that a search combines, opened once."""
    kind = plan.makes
    if not plan.experts:
        built = builder.build(plan.node(plan.expression(plan_first(plan))), kind)
        return [built] if kind == "checkpoint" else sources_of(built)
    experts = [builder.build(plan.node(e), kind) for e in plan.experts]
    found = experts if kind != "model" else [c for e in experts for c in sources_of(e)]
    return [*found, *([builder.build(plan.node(plan.base), "checkpoint")] if plan.base is not None else [])]


def identity_of(plan: SearchPlan, builder: Builder, space: Evaluated) -> Callable[[Sequence[float]], Any]:
    """What a point stands for, in plain values, so that other searches can tell that it means the same model.

    Of combinations of experts that is the share of each expert that has one; those without play no part.
    """
    if plan.template is None or not plan.experts:
        return lambda point: [rounded(point), space.key]
    [(name, arguments)] = plan.template.items()
    rest = [name, {key: value for key, value in arguments.items() if key not in ("models", "weight")}]
    kind = "model" if plan.makes == "model" else "checkpoint"
    under: list[str | None] = [] if plan.base is None else [_said(plan, builder, plan.base, kind)]
    if len(arguments["models"]) == len(plan.experts):  # the base lies under them
        rest += under
        under = [None] * (plan.domain.dim - len(plan.experts))
    members = [*under, *(_said(plan, builder, expert, plan.makes) for expert in plan.experts)]

    def identity(point: Sequence[float]) -> Any:
        shares = zip(members, rounded(point), strict=True)
        return [*rest, [[member, share] for member, share in shares if share and member is not None]]

    return identity


def _said(plan: SearchPlan, builder: Builder, expression: Any, kind: str) -> str:
    """A key of what an expression stands for."""
    built = builder.build(plan.node(expression), kind)
    sources = [built] if kind != "model" else sources_of(built)
    return key_of([plan.resolved(expression), [describe(leaf) for c in sources for leaf in leaves(c)]])


def base_of(plan: SearchPlan, builder: Builder) -> Checkpoint:
    """The model under the adapters: the plan's `base`, else the one that lies beside them."""
    if plan.base is not None:
        found: Checkpoint = builder.build(plan.node(plan.base), "checkpoint")
        return found
    node = plan.node(plan.experts[0])
    over = builder.build(node, "checkpoint") if isinstance(node, Reference) else None
    base = getattr(over, "base", None)
    if base is None:
        raise BadPlan("the base of the adapters is not known", field="search.base", hint="base: MODEL")
    return base  # type: ignore[no-any-return]


def _adapters(plan: SearchPlan, builder: Builder, key: str, pack: int) -> Packed:
    from consort.models import load_model
    from consort.weights.adapters.lora import Adapted

    under = base_of(plan, builder)
    experts = [builder.build(plan.node(e), "adapter") for e in plan.experts]
    wrong = [e.name for e in experts if "peft_type" not in e.config]
    if wrong:
        raise BadParameter(f"{wrong[0]} is a model, not an adapter", field="search.space", hint="take space linear")
    whole = Refilled(plan.domain, key, lambda point: Adapted(under, build_at(plan, builder, point, "adapter")))
    live = load_model(under)
    key, form = key_of([key, describe(under)]), _form(plan)
    return Packed(plan.domain, key, live, experts, under=under, form=form, pack=pack, fallback=whole)


def _form(plan: SearchPlan) -> Form:
    """Whether deltas are mixed, or factors."""
    held = vars(plan.made) if plan.made is not None else next(iter(plan.template.values()))
    return "factor" if held.get("mode") == "factor" else "exact"
