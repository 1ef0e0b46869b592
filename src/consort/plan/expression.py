"""From YAML to a checked expression and back.

A mapping with one key is a call of that registered name; a string is a reference to a model. Only arguments whose
declared type is a kind (a checkpoint, a model, a drafter, ..., or a list of them) are read as expressions, a string as
a name where the kind is neither of the first two; every other value is plain YAML. Parameters of merges may be
schedules over layers and names (core/schedule.py). mergekit's YAML is translated first. Nothing here imports torch: a
plan is checked, and all its faults found, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from consort.core import kinds
from consort.core.errors import BadPlan, ConsortError, UnknownName, did_you_mean, shortened, together
from consort.core.files import read_stdin
from consort.core.kinds import REFERRED, Kind, named
from consort.core.params import Param, bind
from consort.core.registry import Registry
from consort.core.schedule import plain
from consort.data.yaml import load_documents
from consort.models.placement import OPEN, Placement
from consort.plan.elsewhere import mapped_reference
from consort.plan.kinds import find, is_expression, makers
from consort.plan.mergekit.translate import is_mergekit, translate
from consort.plan.references import base_and_adapter, has_weights
from consort.plan.schemes import model_of_run
from consort.plan.search.refuse import check_settled

PLAN_KEYS = ("models", "plan", "seed")
PLACEMENT_KEYS = ("dtype", "device", "device_map", "template")
REFERENCE_KEYS = ("hf", "tokenizer", "base", "other_base", *PLACEMENT_KEYS)
PART_KEYS = ("model", "layers")
RUN_PLAN = "plan.yml"
"""What a run folder tells of its winner."""
STATE = "state"
"""The parameter that names the file of what a strategy has learned."""
CHECKPOINT = Param("model", "checkpoint")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model by folder, `lab:NAME` or `hf:ORG/NAME`; `tokenizer: bytes` says that bytes are its tokens.

    `base` is what an adapter is laid over; `other_base` that it may be another than the adapter says. `placement` is
    how the model is held while it works, where that is not left to whoever runs it.
    """

    text: str
    tokenizer: str | None = None
    base: str | None = None
    other_base: bool = False
    placement: Placement = OPEN
    produces: str = field(default="checkpoint", init=False)


@dataclass(frozen=True, slots=True)
class Part:
    """Layers [a, b) of a model, an argument of calls that stack layers."""

    model: Node
    layers: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Call:
    """A registered name with its arguments: nodes where expressions are declared, else checked plain values."""

    kind: str
    name: str
    arguments: Mapping[str, Any]
    produces: str


Node = Reference | Call
NOTHING = Reference("")
MOST_INPUTS = 1_000
"""In one list: each is opened and compared with the others."""
MOST_NODES = 100_000
"""More than any plan that was meant: each node is a model that is checked and built."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`mergekit`: the documents of the mergekit file that the plan was translated from, if it was."""

    root: Node
    seed: int = 0
    mergekit: Sequence[Any] = field(default=(), compare=False)


def read_plan(source: str | Path) -> Plan:
    """A plan from a YAML file or standard input ("-"), or a reference to a single model given in its place."""
    text = str(source)
    if text == "-":
        return _parse_all(load_documents(read_stdin("plan", BadPlan)), "standard input")
    if text.endswith((".yml", ".yaml")) or Path(text).is_file():
        return beside(Path(text).absolute().parent, _parse_all(load_documents(Path(text)), text))
    return Plan(_Reader({}).root(text, "plan")) if text else Plan(Reference(text))


def beside(folder: Path, plan: Plan) -> Plan:
    """The plan with state files, which are named relative to its own file, found from the current folder."""

    def moved(node: Node) -> Node:
        if isinstance(node, Reference):
            return node
        arguments = {key: _moved_argument(value, moved) for key, value in node.arguments.items()}
        state = arguments.get(STATE)
        if isinstance(state, str) and state and not Path(state).is_absolute():
            arguments[STATE] = str(folder / state)
        return replace(node, arguments=arguments)

    return replace(plan, root=moved(plan.root))


def renamed(plan: Plan, name: Callable[[str], str]) -> Plan:
    """The plan with each model called what `name` makes of its reference."""

    def moved(node: Node) -> Node:
        if isinstance(node, Reference):
            return replace(node, text=name(node.text), base=node.base and name(node.base))
        return replace(node, arguments={key: _moved_argument(value, moved) for key, value in node.arguments.items()})

    return replace(plan, root=moved(plan.root))


def _moved_argument(value: Any, moved: Callable[[Node], Node]) -> Any:
    if isinstance(value, Reference | Call):
        return moved(value)
    if isinstance(value, Part):
        return replace(value, model=moved(value.model))
    return tuple(_moved_argument(v, moved) for v in value) if isinstance(value, tuple) else value


def _parse_all(documents: Sequence[Any], source: str = "plan") -> Plan:
    if list(documents) in ([], [None]):
        raise _empty(source)
    if len(documents) == 1 and not is_mergekit(documents[0]):
        return parse(documents[0])
    if not all(map(is_mergekit, documents)):
        message = f"there are {len(documents)} documents, and not all have a merge_method"
        raise BadPlan(message, field="plan", hint="a plan is one document; several are mergekit's, each with a name")
    return Plan(_Reader({}).root(translate(documents), "plan"), mergekit=documents)


def _empty(source: str) -> BadPlan:
    hint = "write one expression, e.g. `ties: {models: [a, b], base: o}`"
    return BadPlan("the plan is empty", field=source, hint=hint)


def parse(document: Any) -> Plan:
    """A YAML value as a plan: `{models, seed, plan}`, a bare expression, or mergekit's.

    Raises BadPlan, BadParameter, UnknownName; ConsortError where there are several faults.
    """
    if document is None:
        raise _empty("plan")
    if is_mergekit(document):
        return _parse_all([document])
    check_settled(document)
    if not (isinstance(document, Mapping) and set(document) & set(PLAN_KEYS)):
        return Plan(_Reader({}).root(document, "plan"))
    _only(document, PLAN_KEYS, "plan")
    if "plan" not in document:
        raise BadPlan("there is no expression", field="plan", hint="write one under `plan:`")
    return Plan(_Reader(_models(document)).root(document["plan"], "plan"), _seed(document))


def parse_kind(value: Any, kind: str, names: Mapping[str, Any], path: str) -> Call:
    """A YAML value as an expression of a kind that has names only (a drafter, a utility, ...), at `path` of a document.

    `names` are the document's own names of models. Raises as `parse` does.
    """
    reader = _Reader(names)
    call = reader.named(value, path, kind)
    if reader.faults:
        raise together(reader.faults)
    return call


def _models(document: Mapping[str, Any]) -> Mapping[str, Any]:
    models = document.get("models") or {}
    if not isinstance(models, Mapping):
        raise BadPlan(f"{models!r} is not a mapping", field="models", hint="write `name: reference` lines")
    return models


def _seed(document: Mapping[str, Any]) -> int:
    seed = document.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadPlan(f"{seed!r} is not a seed", field="seed", hint="a whole number, 0 or more")
    return seed


def _only(mapping: Mapping[str, Any], known: Sequence[str], path: str) -> None:
    for key in mapping:
        if key not in known:
            raise BadPlan(f"unknown key {key!r}", field=f"{path}.{key}", hint=did_you_mean(str(key), known))


LONGEST_NAME = 255
"""Bytes of the longest name of a folder on any file system."""


class _Reader:
    """Reads nodes; holds the plan's own model names, those being expanded (to refuse circles), and the faults found.

    A name is read once, however often it is used; `sizes` counts the nodes that each stands for.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names
        self.open_names: list[str] = []
        self.faults: list[ConsortError] = []
        self.known: dict[str, Node] = {}
        self.sizes: dict[int, int] = {}
        self.kept: list[Call] = []  # alive, so that their ids stay theirs

    def root(self, value: Any, path: str) -> Node:
        """The whole expression, or one error that names all its faults."""
        try:
            node = self.read(value, path)
        except RecursionError:
            hint = "flatten it, or save a part with `consort merge` and name the folder"
            raise BadPlan("expressions are nested too deeply", field=path, hint=hint) from None
        if self.faults:
            raise together(self.faults)
        return node

    def read(self, value: Any, path: str) -> Node:
        """The node at `path`; what is wrong in it is kept for later, and a reference to nothing stands for it."""
        try:
            return self._read(value, path)
        except ConsortError as fault:
            self.faults.append(fault)
            return NOTHING

    def _read(self, value: Any, path: str, kind: str = "model") -> Node:
        if kind not in REFERRED:
            return self.named(value, path, kind)
        if isinstance(value, str):
            return self._reference(value, path)
        if text := mapped_reference(value, path):
            return Reference(text)
        if isinstance(value, Mapping) and "hf" in value:
            _only(value, REFERENCE_KEYS, path)
            return _described(value, path)
        if not isinstance(value, Mapping) or len(value) != 1:
            found = f"{len(value)} keys ({', '.join(map(str, value))})" if isinstance(value, Mapping) else repr(value)
            hint = "one registered name with its arguments, e.g. `average: {models: [a, b]}`, or a model"
            raise BadPlan(f"an expression has one key; this has {found}", field=path, hint=hint)
        [(name, arguments)] = value.items()
        return self._call(str(name), arguments, path, kind)

    def named(self, value: Any, path: str, kind: str) -> Call:
        """An expression of a kind that has names only, as a string or `{name: arguments}`."""
        if not isinstance(value, str | Mapping):
            raise BadPlan(f"{value!r} is no {kind}", field=path, hint=f"see `consort methods --kind {kind}`")
        described = isinstance(value, Mapping) and "hf" in value
        name, arguments = ("", {}) if described else named(value, path)
        registry, bare = kinds.find(name, makers(kind), path)
        if bare is None and described:
            [first, *_] = registry_params(registry, registry.reference)
            return self._call(registry.reference, {first.plan_name: value}, path, kind)
        if bare is None and not isinstance(value, str):
            raise UnknownName(f"no {kind} named {shortened(name)!r}", field=path, hint=did_you_mean(name, registry))
        if bare is None:
            [first, *_] = registry_params(cast(Registry[Any], registry), registry.reference)
            return self._call(registry.reference, {first.plan_name: name}, path, kind)
        return self._call(name, arguments, path, kind)

    def _reference(self, text: str, path: str) -> Node:
        if not text:
            raise BadPlan("a model's name is empty", field=path, hint="a folder, lab:NAME or hf:ORG/NAME")
        if any(len(part.encode("utf-8", "replace")) > LONGEST_NAME for part in text.split("/")):
            hint = "a folder, lab:NAME or hf:ORG/NAME, or a plan file that says `plan: ...`"
            raise BadPlan(f"{shortened(text)!r} is no model's name", field=path, hint=hint)
        if text not in self.names:
            base, adapter = base_and_adapter(text)
            return _run_plan(text) or Reference(adapter, base=base)
        if text in self.open_names:
            circle = " -> ".join((*self.open_names, text))
            raise BadPlan(f"{circle} goes in a circle", field=path, hint="a model cannot be made of itself")
        if text not in self.known:
            self.open_names.append(text)
            self.known[text] = self.read(self.names[text], f"models.{text}")
            self.open_names.pop()
        return self.known[text]

    def _call(self, name: str, arguments: Any, path: str, kind: str) -> Call:
        try:
            registry, entry = find(name, makers(kind))
        except UnknownName as error:
            error.field = f"{path}.{name}"
            raise
        where = f"{path}.{name}"
        if not isinstance(arguments, Mapping):
            hint = f"write `{name}: {{models: [...]}}`; see `consort methods {entry.name}`"
            raise BadPlan(f"{name} takes named arguments, not {arguments!r}", field=where, hint=hint)
        params = registry_params(registry, entry.name)
        try:
            bound = bind(name, params, arguments, _count(arguments), schedules=registry.kind == "merge")
        except ConsortError as error:
            self.faults.append(error.within(where))
            bound = {p.name: arguments.get(p.plan_name) for p in params if not p.is_plain}
        given = {
            p.plan_name: p for p in params if (p.plan_name in arguments or p.name in arguments) and p.name in bound
        }
        read = {key: self._argument(p, bound[p.name], f"{where}.{key}") for key, p in given.items()}
        kept = {key: v for key, v in read.items() if v is not None and v != given[key].default}
        return self._bounded(Call(registry.kind, entry.name, kept, registry.produces), path)

    def _bounded(self, call: Call, path: str) -> Call:
        """The call, unless it stands for so many nodes that nobody meant it. Raises BadPlan."""
        inner = [n for v in call.arguments.values() for n in (v if isinstance(v, tuple) else (v,))]
        nodes = [n.model if isinstance(n, Part) else n for n in inner]
        size = 1 + sum(self.sizes.get(id(n), 1) for n in nodes if isinstance(n, Reference | Call))
        if size > MOST_NODES:
            hint = "names that are used twice by names that are used twice grow without end"
            raise BadPlan(f"it stands for more than {MOST_NODES:,} models", field=path, hint=hint)
        self.sizes[id(call)] = size
        self.kept.append(call)
        return call

    def _argument(self, param: Param, value: Any, path: str) -> Any:
        if value is None or not is_expression(param):
            return _value(param, value)
        if not param.many:
            return self._typed(param, value, path)
        what = "models" if param.type in REFERRED else f"expressions of the kind {param.type}"
        if value == () or value == []:
            raise BadPlan(f"there are no {what} in the list", field=path, hint="write `[a, b]`")
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise BadPlan(f"{value!r} is not a list of {what}", field=path, hint="write `[a, b]`")
        if len(value) > MOST_INPUTS:
            hint = "combine them in groups, and the results of the groups"
            raise BadPlan(f"{len(value):,} {what} are more than {MOST_INPUTS:,}", field=path, hint=hint)
        return tuple(self._typed(param, item, f"{path}[{i}]") for i, item in enumerate(value))

    def _typed(self, param: Param, value: Any, path: str) -> Node | Part:
        if param.type == "slice":
            return self._part(value, path)
        if param.type not in REFERRED:
            return self.named(value, path, param.type)
        node = self.read(value, path)
        if param.type == "checkpoint" and isinstance(node, Reference) and node.placement.to_json():
            hint = "say it where a model works; what is written has a dtype of its own, e.g. `linear: {dtype: …}`"
            raise BadPlan("weights at rest have no dtype or device to work in", field=path, hint=hint)
        if param.type == "checkpoint" and node.produces != "checkpoint":
            hint = "a folder or a merge; a strategy that decides at run time has no weights to merge"
            raise BadPlan(f"{node.name} is not a checkpoint", field=path, hint=hint)  # type: ignore[union-attr]
        return node

    def _part(self, value: Any, path: str) -> Part:
        if not isinstance(value, Mapping) or set(value) - set(PART_KEYS) or "model" not in value:
            if isinstance(value, Mapping):
                _only(value, PART_KEYS, path)
            raise BadPlan(f"{value!r} is not a slice", field=path, hint="write {model: a, layers: [0, 4]}")
        layers = value.get("layers")
        if not isinstance(layers, list | tuple) or len(layers) != 2 or not all(type(n) is int for n in layers):
            hint = "two whole numbers: [0, 4] are the layers 0, 1, 2 and 3"
            raise BadPlan(f"{layers!r} is not a range of layers", field=f"{path}.layers", hint=hint)
        return Part(self._typed(CHECKPOINT, value["model"], f"{path}.model"), (layers[0], layers[1]))  # type: ignore[arg-type]


def registry_params(registry: Kind, name: str) -> tuple[Param, ...]:
    """The parameters of a name, those first that its kind adds."""
    found, entry = find(f"{registry.kind}.{name}")
    return (*found.inputs, *entry.params)


def _value(param: Param, value: Any) -> Any:
    """A checked plain value; of a per-model parameter one value where all models have the same."""
    if isinstance(value, tuple) and param.per_model and all(v == value[0] for v in value):
        value = value[0]
    written = plain(value)
    return tuple(written) if isinstance(written, list) else written


def _run_plan(text: str) -> Node | None:
    """The plan that a run folder ended with, where that is no set of weights but a team."""
    folder = Path(text).expanduser()
    file = folder / RUN_PLAN
    if not has_weights(text) or not file.is_file() or (folder / "config.json").exists() or model_of_run(folder):
        return None
    return beside(folder.absolute(), _parse_all(load_documents(file))).root


def _described(value: Mapping[str, Any], path: str) -> Reference:
    other = value.get("other_base", False)
    if not isinstance(other, bool):
        raise BadPlan(
            f"{other!r} is not true or false", field=f"{path}.other_base", hint="true, if it is the right base"
        )
    for key, text in value.items():
        if not isinstance(text, str) and key not in ("other_base", "device_map"):
            raise BadPlan(f"{text!r} is not a string", field=f"{path}.{key}", hint="a folder or a name")
    if value.get("tokenizer") not in (None, "bytes"):
        raise BadPlan(
            f"{value['tokenizer']!r} is no tokenizer", field=f"{path}.tokenizer", hint="write `tokenizer: bytes`"
        )
    placement = Placement(*(value.get(key) for key in PLACEMENT_KEYS)).check(f"{path}.")
    base, text = (value["base"], value["hf"]) if "base" in value else base_and_adapter(value["hf"])
    return Reference(text, value.get("tokenizer"), base, other, placement)


def _count(arguments: Mapping[str, Any]) -> int | None:
    """How many models there are; None where that is not known, or their list is empty (which `_argument` refuses)."""
    models = arguments.get("models")
    return len(models) or None if isinstance(models, Sequence) and not isinstance(models, str) else None


def dump(plan: Plan | Node) -> Any:
    """The plan as plain YAML values; parse(dump(p)) == p."""
    if isinstance(plan, Plan):
        root = dump(plan.root)
        return {"seed": plan.seed, "plan": root} if plan.seed else root
    if isinstance(plan, Reference):
        options = {"tokenizer": plan.tokenizer, "base": plan.base, "other_base": plan.other_base}
        given = {key: value for key, value in options.items() if value} | plan.placement.to_json()
        return {"hf": plan.text, **given} if given else plan.text
    return {plan.name: {key: _dump_argument(value) for key, value in plan.arguments.items()}}


def _dump_argument(value: Any) -> Any:
    if isinstance(value, Reference | Call):
        return dump(value)
    if isinstance(value, Part):
        return {"model": dump(value.model), "layers": list(value.layers)}
    return [_dump_argument(v) for v in value] if isinstance(value, tuple) else value
