"""The models that are served: every plan and every model inside it, by id."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from consort.core.errors import BadParameter, ConsortError, did_you_mean
from consort.core.params import name_of
from consort.models.token_model import TokenModel
from consort.plan.build import Builder
from consort.plan.expression import Plan, read_plan
from consort.plan.objects import _registered
from consort.plan.references import label_of
from consort.server.errors import ApiError
from consort.server.members import Members, runs_plainly
from consort.server.source import ID, split_source

_NUMBERED = re.compile(r"(.+)-([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)")
Streams = Literal["tokens", "accepted", "end"]


@dataclass(frozen=True, slots=True)
class Served:
    """A model under its id. `asked` is the same model as the server asks it: with its members watched.

    `streams`: whether pieces come with the tokens, once a member has been chosen, or at the end. `source` is the plan.
    """

    id: str
    model: Any
    asked: Any
    strategy: str
    streams: Streams
    created: int
    deadline_s: float | None = None
    max_members: int | None = None
    quorum: int = 1

    @property
    def in_batch(self) -> bool:
        """Whether its answers are made in the common batch."""
        return runs_plainly(self.model)

    @property
    def tokenizer(self) -> Any:
        return getattr(self.model, "tokenizer", None)

    def document(self) -> dict[str, Any]:
        members = [member.name for member in getattr(self.model, "members", ())]
        own = {"strategy": self.strategy, "members": members, "streams": self.streams}
        window = getattr(self.model, "window", None)
        found = {"id": self.id, "object": "model", "created": self.created, "owned_by": "consort", "consort": own}
        return {**found, "max_model_len": window} if window else found


@dataclass(slots=True)
class Table:
    """Served models by id. `default` is the first."""

    models: dict[str, Served] = field(default_factory=dict)
    aliases: dict[str, Served] = field(default_factory=dict)
    """Of `NAME-THRESHOLD`, made when first asked for."""

    @property
    def default(self) -> Served:
        return next(iter(self.models.values()))

    def find(self, name: str) -> Served:
        """The model of an id, or of `NAME-THRESHOLD`. Raises ApiError: 404, or 400 for a threshold out of range."""
        found = self.models.get(name) or self.aliases.get(name)
        if found is not None:
            return found
        numbered = _NUMBERED.fullmatch(name)
        base = self.models.get(numbered[1]) if numbered else None
        if numbered and base is not None and hasattr(base.model, "threshold"):
            made = with_threshold(base, name, float(numbered[2]))
            if len(self.aliases) < 1000:
                self.aliases[name] = made
            return made
        if name.endswith(":latest"):
            return self.find(name.removesuffix(":latest"))
        hint = did_you_mean(name[:128], self.models)
        raise ApiError(404, f"no model {name[:128]!r}: {hint}", param="model", code="model_not_found")


def with_threshold(served: Served, name: str, threshold: float) -> Served:
    """The same strategy with another threshold. Raises ApiError for one that is out of range."""
    try:
        made, asked = (_rebuilt(model, threshold) for model in (served.model, served.asked))
    except ConsortError as error:
        raise ApiError(400, f"model: {error.message} ({error.hint})", param="model", code="invalid_value") from None
    return replace(served, id=name, model=made, asked=asked)


def _rebuilt(model: Any, threshold: float) -> Any:
    found = _registered(model)
    if found is None:
        raise BadParameter("has no threshold that could be set", field="model")
    registry, name = found
    given = {param.name: getattr(model, param.name) for param in registry.entry(name).params}
    made = registry.get(name)(**{**given, "threshold": threshold})
    if getattr(model, "learned", None) is not None:
        made.learned = model.learned
    return made


def load_table(
    sources: Sequence[str],
    members: Members,
    *,
    allow_remote_code: bool = False,
    built: Builder | None = None,
    options: Mapping[str, Any] | None = None,
) -> Table:
    """The table of plans and models; equal models of several plans are loaded once. Raises ConsortError."""
    found: dict[str, tuple[str, Plan]] = {}
    for source in sources:
        name, text = split_source(source)
        plan, name = read_plan(text), name or name_of_source(text)
        if name in found:
            hint = f"give one of them another: other={text}"
            raise BadParameter(f"two models would be called {name!r}", field=text, hint=hint)
        found[name] = (text, plan)
    if not found:
        raise BadParameter("nothing to serve", field="PLAN|MODEL", hint="a plan file or a model")
    builder = built or Builder(allow_remote_code=allow_remote_code)
    models = {}
    for name, (text, plan) in found.items():
        builder.seed = plan.seed
        try:
            models[name] = builder.build(plan.root, "model")
        except ConsortError as error:
            raise error.within(text) if error.field is None else error from None
    return table_of(models, members, options=options)


def table_of(models: Mapping[str, Any], members: Members, *, options: Mapping[str, Any] | None = None) -> Table:
    """The table of models by name, with those inside them."""
    table, created = Table(), int(time.time())
    given = dict(options or {})
    for name, model in models.items():
        if not ID.fullmatch(name):
            raise BadParameter(f"{name!r} is no model id", field=name, hint="letters, digits and . _ : / -")
        table.models[name] = served_as(name, model, members, created, given)
    for name, model in models.items():
        _add_inner(table, name, model, members, created, given)
    return table


def _add_inner(table: Table, plan: str, model: Any, members: Members, created: int, options: dict[str, Any]) -> None:
    for member in getattr(model, "members", ()):
        known = any(served.model is member for served in table.models.values())
        if not known and answers(member):  # a reward model has a price and no answers
            label = id_of(member, plan)
            name, number = label, 1
            while name in table.models:
                number += 1
                name = f"{label}-v{number}"
            table.models[name] = served_as(name, member, members, created, options)
        _add_inner(table, plan, member, members, created, options)


def served_as(name: str, model: Any, members: Members, created: int, options: Mapping[str, Any]) -> Served:
    if not answers(model):
        raise BadParameter("does not answer prompts", field=name, hint="serve a model or a strategy")
    own = type(model)
    strategy = name_of(own.__name__) if getattr(model, "members", ()) else "model"
    streams: Streams = getattr(own, "streams", "tokens" if hasattr(own, "stream") else "end")
    asked = model if isinstance(model, TokenModel) else members.strategy(model)
    return Served(name, model, asked, strategy, streams, created, **options)


def answers(model: Any) -> bool:
    """Whether it can be asked."""
    return callable(getattr(model, "generate", None))


def id_of(model: Any, plan: str) -> str:
    """What a model inside a plan is called: a plain one by its own name, a strategy by plan and kind."""
    if getattr(model, "members", ()):
        return f"{plan}/{name_of(type(model).__name__)}"
    name = str(getattr(model, "name", "model"))
    if not ID.fullmatch(name):
        name = re.sub(r"[^A-Za-z0-9._:/-]+", "-", Path(name).name).strip("-._:/")[:128] or "model"
    return name


def name_of_source(source: str) -> str:
    """The id of a source that was given no name: a plan file's own name, a reference's label."""
    if source == "-":
        return "plan"
    path = Path(source)
    if path.suffix in (".yml", ".yaml"):
        label = path.absolute().parent.name if path.stem == "plan" else path.stem
    else:
        label = label_of(source.rstrip("/"))
    label = re.sub(r"[^A-Za-z0-9._:/-]+", "-", label).strip("-._:/")
    return label[:128] or "model"
