"""The space of a search plan: an expression with free coordinates, or a registered space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from consort.core.errors import BadPlan, ConsortError
from consort.core.params import bind
from consort.core.registry import Entry
from consort.plan.expression import Call, Node, Reference, dump, parse, parse_kind
from consort.plan.search.template import SPACE, Open, groups_of, singles_of, template_of
from consort.search.engine.domain import Domain, coefficient_domain
from consort.search.marks import Free, coordinates, filled, is_single, read_mark
from consort.search.spaces import spaces

if TYPE_CHECKING:
    from consort.weights.checkpoint import Checkpoint

Asked = Mapping[str, tuple[str, Any]]
"""What an optimizer asks of a space: parameter, the place in the plan that says so, value."""
POINTS = ("low", "high", "base", "extra", "sparsified", "density")
"""Parameters of combinations that are no arguments of their call."""


def read_space(space: Any, base: Any, asked: Asked, names: Mapping[str, Any], opens: Open) -> dict[str, Any]:
    """What a `SearchPlan` has of a checked space. Raises ConsortError."""
    if not isinstance(space, Mapping) or len(space) != 1:
        hint = "an expression such as {linear: {models: [a, b], weight: {free: [0, 1]}}}, or a registered space"
        raise BadPlan(f"{space!r} is not an expression", field=SPACE, hint=hint)
    [(name, arguments)] = space.items()
    if str(name) in spaces:
        return _registered(spaces.entry(str(name)), arguments, base, asked, names, opens)
    combination = next((e for e in spaces.entries().values() if e.options.get("of") == name), None)
    if combination is not None and _only_weights_free(arguments, opens):
        given = {key: value for key, value in arguments.items() if key != "weight"}
        mark = read_mark(arguments["weight"], f"{SPACE}.{name}.weight")
        return _combination(combination, given, mark, base, asked, names)
    _refuse_asked(base, asked)
    return _expression(str(name), space, arguments, names, opens)


def _refuse_asked(base: Any, asked: Asked) -> None:
    """Only combinations of experts have a base and members besides."""
    if base is None and not asked:
        return
    what, field = ("base", "search.base") if base is not None else (next(iter(asked)), next(iter(asked.values()))[0])
    calls = ", ".join(str(e.options["of"]) for e in spaces.entries().values() if "of" in e.options)
    hint = f"free weights of {calls}, and nothing else free; or put the base into the expression"
    raise BadPlan(f"{what} belongs to combinations of experts", field=field, hint=hint)


def _registered(
    entry: Entry, arguments: Any, base: Any, asked: Asked, names: Mapping[str, Any], opens: Open
) -> dict[str, Any]:
    """A registered space by its own name, with its own parameters."""
    where = f"{SPACE}.{entry.name}"
    if not isinstance(arguments, Mapping):
        what = f"{entry.name} takes named arguments, not {arguments!r}"
        raise BadPlan(what, field=where, hint=f"{entry.name}: {{models: [a, b]}}")
    params = {p.plan_name for p in entry.params}
    if "of" in entry.options:
        own = dict(arguments)
        mark = read_mark({"free": [own.pop("low", -0.5), own.pop("high", 1.5)]}, where)
        return _combination(entry, own, mark, base, asked, names)
    _refuse_asked(
        None if "base" in params else base, {word: told for word, told in asked.items() if word not in params}
    )
    more = {word: value for word, (_, value) in asked.items()} | ({} if base is None else {"base": base})
    call = parse_kind({entry.name: {**more, **arguments}}, "space", names, SPACE)
    try:
        made: Any = opens(call)
    except ConsortError as error:
        raise error.within(SPACE) from None
    makes = next((way for way in ("checkpoint", "adapter", "model") if hasattr(made, way)), "")
    if not makes:
        raise BadPlan(f"{entry.name} makes nothing of a point", field=where, hint="checkpoint, adapter or model(point)")
    found = {"space": entry.name, "makes": makes, "template": None, "domain": made.domain, "made": made}
    under = call.arguments.get("base")
    experts = tuple(dump(node) for key, value in call.arguments.items() if key != "base" for node in _nodes(value))
    return {**found, "experts": experts, "units": getattr(made, "units", {}), "base": under and dump(under)}


def _nodes(value: Any) -> list[Node]:
    """The models among an argument."""
    every = value if isinstance(value, tuple) else (value,)
    return [
        v for v in every if isinstance(v, Reference) or (isinstance(v, Call) and v.produces in ("checkpoint", "model"))
    ]


def _only_weights_free(arguments: Any, opens: Open) -> bool:
    if not isinstance(arguments, Mapping) or not is_single(arguments.get("weight")):
        return False
    others = {key: value for key, value in arguments.items() if key != "weight"}
    return isinstance(others.get("models"), list) and not coordinates(template_of(others, opens))


def _combination(
    entry: Entry, arguments: dict[str, Any], mark: Free, base: Any, asked: Asked, names: Mapping[str, Any]
) -> dict[str, Any]:
    """Combinations of experts, as the space declares them: members, box, and the call that is evaluated."""
    options, call_name = entry.options, str(entry.options["of"])
    more, base = _asked_of(entry, arguments, base, asked)
    if not isinstance(arguments.get("models"), list) or not arguments["models"]:
        raise BadPlan("there are no models", field=f"{SPACE}.{entry.name}.models", hint="models: [a, b]")
    experts = list(arguments["models"])
    if more and base is None:
        raise BadPlan("needs the base", field="search.base", hint="base: the model that the experts were tuned from")
    sparse: list[Any] = []
    if more.get("sparsified"):
        kept = {"base": base, "density": more["density"]}
        sparse = [{str(options["sparsified"]): {"models": [expert], **kept}} for expert in experts]
    labels = [label_of(expert) for expert in experts] + [f"sparsified {label_of(e)}" for e in experts if sparse]
    under = None if base is None else label_of(base)
    domain = coefficient_domain(
        labels, base=under, extra="extra" in more, start_at_base=bool(sparse), low=mark.low, high=mark.high
    )
    every = [*experts, *sparse]
    members = every if base is None or options.get("base") == "under" else [base, *every]
    weight = [Free(f"{call_name}.weight[{i}]", mark.low, mark.high) for i in range(len(members))]
    call = {**arguments, "models": members, "weight": weight}
    when = dict(options.get("when", {}))
    if all(arguments.get(key) == value for key, value in when.items()):
        call |= dict(options.get("fixed", {}))
    template = {call_name: call}
    _checked(filled(template, [1.0] + [0.0] * (len(members) - 1)), names)
    found = {"space": entry.name, "makes": str(options.get("makes", "checkpoint")), "template": template}
    return {**found, "domain": domain, "base": base, "experts": tuple(every)}


def _asked_of(entry: Entry, arguments: dict[str, Any], base: Any, asked: Asked) -> tuple[dict[str, Any], Any]:
    """What is asked of a combination beside its call, checked by its own parameters; and its base.

    Parameters of the space are taken out of `arguments`.
    """
    params = {p.plan_name: p for p in entry.params if p.name in POINTS}
    own = {key: arguments.pop(key) for key in POINTS if key in arguments and key in params}
    base = own.pop("base", base)
    told = {word: value for word, (_, value) in asked.items()} | own
    for word in told:
        if word not in params:
            having = [e.name for e in spaces.entries().values() if any(p.name == word for p in e.params)]
            field = asked[word][0] if word in asked else f"{SPACE}.{entry.name}.{word}"
            raise BadPlan(f"{entry.name} has no {word}", field=field, hint=f"take the space {' or '.join(having)}")
    chosen = [params[word] for word in told]
    try:
        bound = bind(entry.name, chosen, told)
    except ConsortError as error:
        raise error.within(SPACE) from None
    if "density" in told:
        bound["sparsified"] = True
    if bound.get("sparsified"):
        bound.setdefault("density", params["density"].default)
    return {word: value for word, value in bound.items() if value is not False}, base


def _expression(name: str, space: Any, arguments: Any, names: Mapping[str, Any], opens: Open) -> dict[str, Any]:
    """Any expression with free coordinates."""
    template = template_of(space, opens)
    free = coordinates(template)
    if not free:
        hint = f"write {{free: [0, 1]}} in the place of a number, or a space: {', '.join(spaces)}"
        raise BadPlan("there is no free coordinate", field=SPACE, hint=hint)
    low, high = [f.low for f in free], [f.high for f in free]
    node = [_checked(filled(template, end), names) for end in (low, high)][0]
    starts, units = singles_of(free), {}
    if free[0].name.startswith(f"{SPACE}.{name}.weight"):
        starts = starts if len(starts) == len(arguments["models"]) else ()
        units = dict(zip(map(label_of, arguments["models"]), starts, strict=False))
    domain = Domain(low, high, tuple(f.name for f in free), starts, groups_of(free))
    space_name = "weights" if node.produces == "checkpoint" else "models"
    return {"space": space_name, "makes": node.produces, "template": template, "domain": domain, "units": units}


def opened(names: Mapping[str, Any], seed: int, allow_remote_code: bool, expression: Any) -> Checkpoint:
    """The checkpoint of a plain expression in the space, or the object of a checked call."""
    from consort.plan.build import Builder

    builder = Builder(seed, allow_remote_code)
    if isinstance(expression, Call):
        made: Checkpoint = builder.build(expression, expression.produces)
        return made
    node = _checked(expression, names)
    if node.produces != "checkpoint":
        hint = "a folder or a merge: a strategy that decides at run time has no layers"
        raise BadPlan(f"{next(iter(expression), '')} is not a checkpoint", field=SPACE, hint=hint)
    found: Checkpoint = builder.build(node, "checkpoint")
    return found


def _checked(expression: Any, names: Mapping[str, Any]) -> Node:
    """The expression at one point, checked; faults are named from `search.space` on."""
    try:
        return parse({"models": dict(names), "plan": expression}).root
    except ConsortError as error:
        if error.field and error.field.startswith("plan"):
            error.field = SPACE + error.field.removeprefix("plan")
        raise


def label_of(expression: Any) -> str:
    """A short name of a member for reports."""
    return expression.rpartition(":")[2] if isinstance(expression, str) else next(iter(expression), "model")
