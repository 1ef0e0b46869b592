"""Fusion plans: which models teach which, on what texts, and what is chosen at each stage.

    pivot: lab:pivot
    sources: [lab:teacher-north, {model: lab:teacher-south, rows: FOLDER}]
    corpus: corpus.jsonl
    mode: pairwise            # one student a source, then merged; `together`: one student of all
    task: lab:tasks/facts     # optional: how the result is measured
    collect: {}               # sections as in fuse/options.py
    align: {}
    fuse: {}
    train: {steps: 200}
    merge: {sce: {select_topk: 1.0}}

By preference (FuseChat-3.0) the corpus holds prompts, and there are other sections:

    mode: preference
    reward: lab:reward        # a classifier with one output; or a metric: answers are right or wrong by their target
    sample: {each: 5}
    train: {epochs: 3}
    prefer: {gap: [0.01, 0.1]}

Nothing here imports torch; all faults are found before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from consort.core.errors import BadPlan, ConsortError, did_you_mean, together
from consort.core.files import read_stdin
from consort.core.params import Range, bind, params_of
from consort.data.yaml import load_yaml
from consort.distil.options import Alignment, Collection, Function
from consort.fuse.options import Asking, Preferring, Training
from consort.plan.expression import Node, Reference, dump, parse
from consort.plan.fuse.modes import check_preference, reward_metrics, strangers
from consort.plan.kinds import find

SECTIONS = {
    "collect": Collection,
    "align": Alignment,
    "fuse": Function,
    "train": Training,
    "sample": Asking,
    "prefer": Preferring,
}
MODELS = ("pivot", "sources", "corpus")
RESERVED = ("best", "control", "fused", "preferred", "together")
"""What students are called, so that no source can be."""
DEFAULT_MERGE: dict[str, Any] = {"sce": {}}

Options = TypeVar("Options")


@dataclass(frozen=True, slots=True)
class Teacher:
    """A source model; `rows` is a folder of rows recorded before, in place of running it."""

    model: Node
    rows: str | None = None

    @property
    def name(self) -> str:
        """The reference, or the part of it that tells it from others."""
        return name_of(self.model)


@dataclass(frozen=True, slots=True)
class Settings:
    """The plain values of a plan. `control` also trains a student on the corpus alone, to compare with.

    `reward` scores answers in the mode `preference`: one of `reward_metrics`, or a reference to a reward model.
    """

    corpus: str
    separator: str = " "
    mode: Literal["pairwise", "together", "preference"] = "pairwise"
    task: str | None = None
    control: bool = False
    reward: str = "exact_match"
    seed: Annotated[int, Range(0, 4294967295)] = 0


@dataclass(frozen=True, slots=True)
class FusePlan:
    """A checked plan. `merge` is the call that makes one of the students, without models and base."""

    pivot: Node
    sources: tuple[Teacher, ...]
    settings: Settings
    collect: Collection
    align: Alignment
    fuse: Function
    train: Training
    sample: Asking
    prefer: Preferring
    merge: Mapping[str, Mapping[str, Any]]

    @property
    def by_preference(self) -> bool:
        """Whether it is trained on pairs of answers rather than on distributions."""
        return self.settings.mode == "preference"

    @property
    def reward_model(self) -> Node | None:
        """The model that rewards answers, None where they are compared with targets."""
        return None if self.settings.reward in reward_metrics() else _node(self.settings.reward, "reward")

    def merged(self, students: Sequence[Any], base: Any) -> dict[str, Any]:
        """The expression that merges the students."""
        return with_models(self.merge, students, base)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values; `parse_fuse` reads them back to an equal plan."""
        sources = [{"model": dump(s.model), "rows": s.rows} if s.rows else dump(s.model) for s in self.sources]
        written: dict[str, Any] = {"pivot": dump(self.pivot), "sources": sources} | _changed(self.settings)
        written |= {name: _changed(getattr(self, name)) for name in SECTIONS if _changed(getattr(self, name))}
        return written | ({} if self.merge == DEFAULT_MERGE else {"merge": self.merge})


def name_of(node: Node) -> str:
    """How reports call a model."""
    return Path(node.text.removeprefix("lab:")).name if isinstance(node, Reference) else node.name


def _changed(options: Any) -> dict[str, Any]:
    """Values that are not the default."""
    given = asdict(options)
    kept = {f.name: given[f.name] for f in fields(options) if given[f.name] != f.default}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def read_fuse(source: str | Path) -> FusePlan:
    """The plan of a YAML file, or of standard input ("-")."""
    return parse_fuse(load_yaml(read_stdin("plan", BadPlan) if str(source) == "-" else Path(source)))


def parse_fuse(document: Any) -> FusePlan:
    """Plain values as a checked plan. Raises BadPlan, BadParameter, UnknownName; ConsortError for several faults."""
    if not isinstance(document, Mapping):
        hint = "write pivot:, sources: and corpus:, see docs/fusion.md"
        raise BadPlan("is not a fusion plan", field="plan", hint=hint)
    plain = [f.name for f in fields(Settings)]
    known = (*MODELS, *plain, *SECTIONS, "merge")
    faults: list[ConsortError] = [
        BadPlan(f"unknown key {key!r}", field=f"plan.{key}", hint=did_you_mean(str(key), known))
        for key in document
        if key not in known
    ]
    faults += [
        BadPlan("is missing", field=f"plan.{name}", hint="a fusion needs it")
        for name in MODELS
        if not document.get(name)
    ]
    faults += strangers(document)
    if faults:
        raise together(faults)
    read = _Faults(faults)
    pivot = read(_node, document["pivot"], "pivot")
    sources = read(_teachers, document["sources"], "sources", pivot)
    settings = read(_options, Settings, {name: document[name] for name in plain if name in document}, "plan")
    sections = {name: read(_options, kind, document.get(name) or {}, name) for name, kind in SECTIONS.items()}
    merge = read(_merge, document.get("merge", DEFAULT_MERGE))
    if not faults:
        found = FusePlan(pivot, sources, settings, **sections, merge=merge)
        read(check_preference, found)
    if faults:
        raise together(faults)
    return found


class _Faults:
    """Calls a function and keeps its error for later."""

    def __init__(self, faults: list[ConsortError]) -> None:
        self.faults = faults

    def __call__(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ConsortError as fault:
            self.faults.append(fault)
            return None


def _options(kind: type[Options], given: Any, name: str) -> Options:
    if not isinstance(given, Mapping):
        raise BadPlan(f"{given!r} is not a mapping", field=name, hint="write `name: value` lines")
    try:
        return kind(**bind(name, params_of(kind, positional=True), given))
    except ConsortError as fault:
        raise fault.within(name) from None


def _node(value: Any, path: str) -> Node:
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        hint = "name the model's folder, or the rows that were recorded of it"
        raise BadPlan("is an endpoint, which does not tell what a fusion needs", field=path, hint=hint)
    if isinstance(value, Mapping) and set(value) == {"model", "tokenizer"}:
        value = {"hf": value["model"], "tokenizer": value["tokenizer"]}
    try:
        node = parse({"plan": value}).root
    except ConsortError as fault:
        raise _placed(fault, path) from None
    if node.produces != "checkpoint":
        hint = "a folder, lab:NAME, hf:ORG/NAME or a merge"
        raise BadPlan("is a model made at run time, not a checkpoint", field=path, hint=hint)
    return node


def _placed(fault: ConsortError, path: str) -> ConsortError:
    """A fault of an expression, found at `path` of the fusion plan."""
    for one in fault.faults or (fault,):
        one.field = (one.field or "").removeprefix("plan").removeprefix(".") or None
    return fault.within(path)


def _teachers(value: Any, path: str, pivot: Node | None) -> tuple[Teacher, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadPlan(f"{value!r} is not a list of models", field=path, hint="write `[a, b]`")
    found = tuple(_teacher(item, f"{path}[{i}]") for i, item in enumerate(value))
    names = [teacher.name for teacher in found]
    for name in names:
        if names.count(name) > 1:
            raise BadPlan(
                f"{name!r} is named twice",
                field=path,
                hint="name each source once; of two folders of one name rename one",
            )
    for teacher in found:
        if teacher.name in RESERVED:
            raise BadPlan(f"{teacher.name!r} is what a student is called", field=path, hint="rename the folder")
        if pivot is not None and teacher.name == name_of(pivot) and teacher.model != pivot:
            what = f"{teacher.name!r} is another model than the pivot of this name"
            raise BadPlan(what, field=path, hint="rename one of the folders")
    return found


def _teacher(value: Any, path: str) -> Teacher:
    if not (isinstance(value, Mapping) and "model" in value):
        return Teacher(_node(value, path))
    known = ("model", "rows", "tokenizer")
    for key in value:
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise BadPlan(f"unknown key {key!r}", field=f"{path}.{key}", hint=hint)
    rows = value.get("rows")
    if rows is not None and (not isinstance(rows, str) or not rows):
        raise BadPlan(f"{rows!r} is not a folder", field=f"{path}.rows", hint="the folder of rows recorded before")
    own = {name: value[name] for name in ("model", "tokenizer") if name in value}
    return Teacher(_node(own if "tokenizer" in own else own["model"], f"{path}.model"), rows)


def _merge(value: Any) -> Mapping[str, Mapping[str, Any]]:
    """A merge without its models, which are the students."""
    call = {value: {}} if isinstance(value, str) else value
    if not isinstance(call, Mapping) or len(call) != 1:
        raise BadPlan(f"{value!r} is not a merge", field="merge", hint="e.g. `merge: {sce: {select_topk: 0.1}}`")
    [(name, arguments)] = call.items()
    if not isinstance(arguments or {}, Mapping) or {"models", "base"} & set(arguments or {}):
        raise BadPlan("the students are its models, the pivot is its base", field="merge", hint="leave them out")
    merge = {str(name): dict(arguments or {})}
    try:
        registry, _ = find(str(name))
    except ConsortError as fault:
        raise fault.within("merge") from None
    if registry.kind != "merge":
        raise BadPlan(f"{name} is not a merge", field="merge", hint="`consort methods --kind merge` lists them")
    try:
        parse({"plan": with_models(merge, ["student", "another"], "pivot")})
    except ConsortError as fault:
        raise _placed(fault, "merge") from None
    return merge


def with_models(call: Mapping[str, Mapping[str, Any]], models: Sequence[Any], base: Any) -> dict[str, Any]:
    """The call with its models and base."""
    [(name, arguments)] = call.items()
    return {name: {"models": list(models), "base": base, **arguments}}
