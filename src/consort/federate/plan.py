"""Federation plans: what is trained, by whom, on what, and how the server makes one state of it.

    model: lab:base                       # any checkpoint expression
    data: rows.jsonl                      # cut among the clients, for simulations
    clients: 5                            # a number, names, or {name: file} where each has its own data
    split: {dirichlet: {alpha: 0.5}}
    trainable: {what: lora, rank: 8}
    trainer: sft
    train: {steps: 20, batch: 16, lr: 1e-3}
    aggregator: svd_lora
    rounds: {rounds: 10, per_round: 4, min_clients: 2}
    privacy: {z: 1.0, clip: 0.5, q: 0.4}  # optional
    secure: {}                            # optional
    where: here                           # here | processes | http | flower
    serve: {port: 8000, tokens: FILE}     # for http
    task: lab:tasks/skills                # optional: how the result is measured
    baselines: true
    seed: 0

Nothing here imports torch; all faults are found before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from consort.core.binding import bound
from consort.core.errors import BadParameter, BadPlan, ConsortError, did_you_mean, together
from consort.core.params import Param, Range, bind, params_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SECTIONS = ("trainable", "train", "rounds", "privacy", "secure", "serve", "limits")
"""Keys whose values are mappings of options."""
EXPRESSIONS = {"split": "split", "trainer": "trainer", "aggregator": "aggregator"}


@dataclass(frozen=True, slots=True)
class Settings:
    """The plain values of a plan; `label` is the column by which rows are split."""

    data: str | None = None
    label: str = "group"
    where: Literal["here", "processes", "http", "flower"] = "here"
    task: str | None = None
    baselines: bool = True
    seed: Annotated[int, Range(0, 4294967295)] = 0


@dataclass(frozen=True, slots=True)
class Serve:
    """Where the server listens, and the file of its clients' tokens, one `NAME TOKEN` a line."""

    tokens: str
    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8765
    certificate: str | None = None
    key: str | None = None


bound(Settings, "plan")
bound(Serve, "serve")


@dataclass(frozen=True, slots=True)
class FederatePlan:
    """A checked plan; sections are still plain values (`section` makes their objects), so that no torch is needed."""

    model: Any
    clients: Mapping[str, str | None]
    settings: Settings
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    split: str | Mapping[str, Any] = "iid"
    trainer: str | Mapping[str, Any] = "sft"
    aggregator: str | Mapping[str, Any] = "fedavg"

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values; `parse_federate` reads them back to an equal plan."""
        own = {f.name: getattr(self.settings, f.name) for f in fields(Settings)}
        changed = {f.name: own[f.name] for f in fields(Settings) if own[f.name] != f.default}
        files = any(file for file in self.clients.values())
        written = {"model": self.model, "clients": dict(self.clients) if files else list(self.clients)}
        expressions = {name: getattr(self, name) for name in EXPRESSIONS}
        return written | changed | expressions | {name: dict(value) for name, value in self.sections.items()}


def parse_federate(document: Any) -> FederatePlan:
    """Plain values as a checked plan. Raises BadPlan, BadParameter, UnknownName; ConsortError for several faults."""
    if not isinstance(document, Mapping):
        hint = "write model:, data: and clients:, see docs/federation.md"
        raise BadPlan("is not a federation plan", field="plan", hint=hint)
    plain = [f.name for f in fields(Settings)]
    known = ("model", "clients", *plain, *SECTIONS, *EXPRESSIONS)
    faults: list[ConsortError] = [
        BadPlan(f"unknown key {key!r}", field=f"plan.{key}", hint=did_you_mean(str(key), known))
        for key in document
        if key not in known
    ]
    faults += [
        BadPlan("is missing", field=f"plan.{name}", hint="a federation needs it")
        for name in ("model", "clients")
        if document.get(name) in (None, "")
    ]
    for name in SECTIONS:
        if document.get(name) is not None and not isinstance(document[name], Mapping):
            faults.append(BadPlan(f"{document[name]!r} is not a mapping", field=name, hint="write `name: value` lines"))
    if faults:
        raise together(faults)
    settings = _settings({name: document[name] for name in plain if name in document})
    sections = {name: dict(document[name]) for name in SECTIONS if document.get(name) is not None}
    expressions = {name: document[name] for name in EXPRESSIONS if document.get(name) is not None}
    plan = FederatePlan(document["model"], _clients(document["clients"]), settings, sections, **expressions)
    _check(plan)
    return plan


def _settings(given: Mapping[str, Any]) -> Settings:
    params: tuple[Param, ...] = params_of(Settings, positional=True)
    return Settings(**bind("plan", params, given))


def _clients(value: Any) -> dict[str, str | None]:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100000:
        return {f"client-{number:0{len(str(value))}}": None for number in range(1, value + 1)}
    if isinstance(value, Mapping):
        named = {str(name): file for name, file in value.items()}
    elif isinstance(value, Sequence) and not isinstance(value, str):
        named = {str(name): None for name in value}
        if len(named) < len(value):
            raise BadPlan("a client is named twice", field="clients", hint="name each once")
    else:
        raise BadPlan(f"{value!r} are no clients", field="clients", hint="a number, names, or {name: file}")
    if len({name.lower() for name in named}) < len(named):
        hint = "some disks do not tell them apart, and each client has a folder"
        raise BadPlan("two clients' names differ in capitals only", field="clients", hint=hint)
    for name, file in named.items():
        if not NAME.fullmatch(name):
            hint = "letters, digits, `.`, `_` and `-`, up to 64"
            raise BadPlan(f"{name[:80]!r} cannot be a client's name", field="clients", hint=hint)
        if file is not None and (not isinstance(file, str) or not file):
            raise BadPlan(f"{file!r} is no file", field=f"clients.{name}", hint="a JSONL file of that client's rows")
    return named


def _check(plan: FederatePlan) -> None:
    """Raise for keys that contradict each other."""
    settings, files = plan.settings, [file for file in plan.clients.values() if file]
    if settings.where in ("http", "flower"):
        if settings.where == "http" and "serve" not in plan.sections:
            raise BadPlan("is missing", field="plan.serve", hint="serve: {port: 8765, tokens: FILE}")
        if files or settings.data:
            hint = "each client names its own with `consort federate join URL --data FILE`"
            raise BadPlan("the server sees no data", field="plan.data", hint=hint)
        return
    if bool(files) == bool(settings.data):
        hint = "either data: FILE, which is cut among the clients, or clients: {name: FILE}"
        raise BadPlan("needs one source of data", field="plan.data", hint=hint)
    if files and len(files) != len(plan.clients):
        raise BadPlan("some clients have no file", field="plan.clients", hint="give every client one")
    for name in [settings.data, *files]:
        if name and not Path(name).is_file():
            raise BadParameter("no such file", field=name, hint="a JSONL file of rows")
