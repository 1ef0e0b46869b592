"""The shape of a mergekit document: keys, models, slices and ranges, checked and named; parameters stay as written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consort.core.dtypes import FLOATS
from consort.core.errors import BadPlan, ConsortError, did_you_mean
from consort.plan.mergekit.methods import METHODS
from consort.plan.mergekit.models import Model, read_model

TOP: tuple[str, ...] = ("name", "merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype")
TOP += ("out_dtype", "tokenizer_source", "tokenizer", "chat_template", "config_conflict")
INPUTS = ("models", "slices", "modules")
MODULES: Mapping[str, str] = {
    **dict.fromkeys(("text_decoder", "language_model", "text_model", "decoder", "default"), "text"),
    **dict.fromkeys(("vision_tower", "vision_encoder", "vision_model", "visual", "encoder"), "vision"),
    **dict.fromkeys(("multi_modal_projector", "projector", "connector"), "projector"),
}
"""mergekit's names of the modules of an architecture, and the parts of a model that they are."""
TOKENIZER = ("source", "tokens", "pad_to_multiple_of")
Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A model of a merge with its parameters and, in a slice, its layers [a, b); `where` is its place in the file."""

    model: Model
    parameters: Parameters
    layers: tuple[int, int]
    where: str


@dataclass(frozen=True, slots=True)
class OutputSlice:
    """Layers of the output: sources with equally many layers each."""

    sources: tuple[Source, ...]
    base: Model | None
    parameters: Parameters
    where: str


@dataclass(frozen=True, slots=True)
class Document:
    """One merge. One of `models` and `slices` is set; `module` are the parameters of its module, if it is one.

    Or, where a file has several modules, `parts` alone: each part of the model with the merge that makes it.
    """

    name: str | None
    where: str
    method: str
    models: tuple[Source, ...] | None = None
    slices: tuple[OutputSlice, ...] | None = None
    base: Model | None = None
    parameters: Parameters = field(default_factory=dict)
    module: Parameters = field(default_factory=dict)
    module_where: str = ""
    dtype: str | None = None
    chat_template: str | None = None
    tokenizer: Mapping[str, Any] | None = None
    config_conflict: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    parts: tuple[tuple[str, Document], ...] = ()

    def scopes(self) -> Iterator[tuple[Parameters, str, bool]]:
        """Every block of parameters once: its place, and whether it belongs to one input."""
        yield self.parameters, self.where, False
        yield self.module, self.module_where, False
        for part in self.slices or ():
            yield part.parameters, part.where, False
        for source in self.sources():
            yield source.parameters, source.where, True

    def sources(self) -> Iterator[Source]:
        yield from self.models or ()
        for _, document in self.parts:
            yield from document.sources()
        for part in self.slices or ():
            yield from part.sources

    def referenced(self) -> list[Model]:
        """All models, in the order of the file."""
        bases = [part.base for part in self.slices or ()]
        return [m for m in (self.base, *bases, *(source.model for source in self.sources())) if m]


def read_document(value: Any, faults: list[ConsortError], where: str = "") -> Document | None:
    """The document; None where so much is wrong that its parameters have no meaning. Faults are added to `faults`."""
    read = _Shape(faults).document(value, where)
    if read is None or read.method not in METHODS or not (read.models or read.slices or read.parts):
        return None
    if read.parts:
        return read if all(_is_whole(document) for _, document in read.parts) else None
    return read if _is_whole(read) else None


def _is_whole(read: Document) -> bool:
    if not (read.models or read.slices):
        return False
    return all(part.sources for part in read.slices or ())


class _Shape:
    """Reads the parts of a document and keeps what is wrong with them."""

    def __init__(self, faults: list[ConsortError]) -> None:
        self.faults = faults
        self.notes: list[str] = []

    def fault(self, message: str, where: str, hint: str) -> None:
        self.faults.append(BadPlan(message, field=where, hint=hint))

    def document(self, value: Any, where: str) -> Document | None:
        if not isinstance(value, Mapping):
            self.fault(f"{value!r:.80} is not a mapping", where.rstrip(".") or "plan", "merge_method: ...")
            return None
        self.only(value, TOP, where)
        method = value.get("merge_method")
        if method not in METHODS:
            what = "there is no merge_method" if method is None else f"no merge method {method!r}"
            self.fault(what, f"{where}merge_method", did_you_mean(str(method or ""), METHODS))
        modules = value.get("modules")
        if (
            isinstance(modules, Mapping)
            and len(modules) > 1
            and not any(value.get(key) for key in ("models", "slices"))
        ):
            return self.of_parts(value, modules, where)
        holder, module_where, module = self.module(value, where)
        sources = self.sources(holder, "models", module_where, ranged=False) if "models" in holder else None
        slices = self.slices(holder.get("slices"), module_where) if "slices" in holder else None
        dtypes = {key: self.dtype(value.get(key), f"{where}{key}") for key in ("dtype", "out_dtype")}
        return Document(
            name=value.get("name"),
            where=where,
            method=str(method),
            models=sources,
            slices=slices,
            base=self.model(value, "base_model", where),
            parameters=self.parameters(value, where),
            module=module,
            module_where=module_where,
            dtype=dtypes["out_dtype"] or dtypes["dtype"],
            chat_template=self.text(value, "chat_template", where),
            tokenizer=self.tokenizer(value, where),
            config_conflict=self.conflicts(value, where),
            notes=tuple(self.notes),
        )

    def of_parts(self, value: Mapping[str, Any], modules: Mapping[str, Any], where: str) -> Document | None:
        """A file with several modules: for each of them the file as if it had that one alone."""
        parts = []
        for name, module in modules.items():
            if name not in MODULES:
                hint = did_you_mean(str(name), MODULES)
                self.fault(f"no module is known as {name!r}", f"{where}modules.{name}", hint)
            elif document := self.document({**value, "modules": {name: module}}, where):
                parts.append((MODULES[name], document))
        if len({part for part, _ in parts}) < len(parts):
            self.fault("two modules are one part of the model", f"{where}modules", "one module for each part")
        return replace(parts[0][1], models=None, slices=None, parts=tuple(parts)) if parts else None

    def only(self, value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        for key in value:
            if key not in known:
                self.fault(f"unknown key {key!r}", f"{where}{key}", did_you_mean(str(key), known))

    def module(self, value: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], str, Parameters]:
        """What holds `models` or `slices`, its place, and the parameters of the module where it is one."""
        given = [key for key in INPUTS if value.get(key)]
        if len(given) != 1:
            what = f"{' and '.join(given)} are both there" if given else "there are no models"
            self.fault(what, where.rstrip(".") or "plan", "exactly one of models, slices, modules")
            return {}, where, {}
        if given != ["modules"]:
            return {given[0]: value[given[0]]}, where, {}
        modules = value["modules"]
        if not isinstance(modules, Mapping):
            self.fault("is not a mapping", f"{where}modules", "modules: {default: {models: [...]}}")
            return {}, where, {}
        [(name, module)] = modules.items()
        inside = f"{where}modules.{name}."
        if not isinstance(module, Mapping):
            self.fault("is not a mapping", inside.rstrip("."), "{models: [...]} or {slices: [...]}")
            return {}, where, {}
        self.only(module, ("models", "slices", "parameters"), inside)
        if bool(module.get("models")) == bool(module.get("slices")):
            self.fault("needs models or slices", inside.rstrip("."), "exactly one of models, slices")
        return module, inside, self.parameters(module, inside)

    def sources(self, holder: Mapping[str, Any], key: str, where: str, *, ranged: bool) -> tuple[Source, ...]:
        entries = holder.get(key)
        if not isinstance(entries, list) or not entries:
            self.fault(f"{entries!r:.80} is not a list of models", f"{where}{key}", f"{key}: [{{model: PATH}}]")
            return ()
        return tuple(
            source
            for i, entry in enumerate(entries)
            if (source := self.source(entry, f"{where}{key}[{i}].", ranged=ranged))
        )

    def source(self, entry: Any, where: str, *, ranged: bool) -> Source | None:
        if not isinstance(entry, Mapping):
            self.fault(f"{entry!r:.80} is not a mapping", where.rstrip("."), "- model: PATH")
            return None
        self.only(entry, ("model", "parameters", "layer_range") if ranged else ("model", "parameters"), where)
        model = self.model(entry, "model", where)
        if "model" not in entry:
            self.fault("names no model", where.rstrip("."), "- model: PATH")
        layers = self.layer_range(entry.get("layer_range"), where) if ranged else (0, 0)
        return Source(model, self.parameters(entry, where), layers, where) if model else None

    def slices(self, entries: Any, where: str) -> tuple[OutputSlice, ...]:
        if not isinstance(entries, list) or not entries:
            self.fault(f"{entries!r:.80} is not a list of slices", f"{where}slices", "slices: [{sources: [...]}]")
            return ()
        found = []
        for i, entry in enumerate(entries):
            inside = f"{where}slices[{i}]."
            if not isinstance(entry, Mapping):
                self.fault(f"{entry!r:.80} is not a mapping", inside.rstrip("."), "- sources: [...]")
                continue
            self.only(entry, ("sources", "base_model", "residual_weight", "parameters"), inside)
            if entry.get("residual_weight") is not None:
                self.notes.append(f"{inside}residual_weight has no effect, neither here nor in mergekit")
            sources = self.sources(entry, "sources", inside, ranged=True)
            counts = {source.layers[1] - source.layers[0] for source in sources}
            if len(counts) > 1:
                hint = "layer ranges of one length"
                self.fault("the sources have different numbers of layers", f"{inside}sources", hint)
            base = self.model(entry, "base_model", inside)
            found.append(OutputSlice(sources, base, self.parameters(entry, inside), inside))
        return tuple(found)

    def layer_range(self, value: Any, where: str) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int for n in value):
            hint = "layer_range: [0, 4] are the layers 0, 1, 2 and 3"
            self.fault(f"{value!r:.80} is not a range of layers", f"{where}layer_range", hint)
            return 0, 1
        start, stop = value
        if not 0 <= start < stop:
            hint = "layer_range: [a, b] is a, a + 1, ..., b - 1"
            self.fault(f"the range {value} holds no layer", f"{where}layer_range", hint)
        return start, stop

    def model(self, holder: Mapping[str, Any], key: str, where: str) -> Model | None:
        if holder.get(key) is None:
            return None
        try:
            return read_model(holder[key], f"{where}{key}")
        except ConsortError as fault:
            self.faults.append(fault)
            return None

    def parameters(self, holder: Mapping[str, Any], where: str) -> Parameters:
        found = holder.get("parameters")
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            self.fault(f"{found!r:.80} is not a mapping", f"{where}parameters", "parameters: {weight: 0.5}")
            return {}
        return found

    def dtype(self, value: Any, where: str) -> str | None:
        if value is not None and value not in FLOATS:
            self.fault(f"{value!r} is no dtype for weights", where, did_you_mean(str(value), FLOATS))
            return None
        return str(value) if value is not None else None

    def text(self, holder: Mapping[str, Any], key: str, where: str) -> str | None:
        value = holder.get(key)
        if value is not None and not isinstance(value, str):
            self.fault(f"{value!r:.80} is not text", f"{where}{key}", "auto, chatml, ... or Jinja text")
            return None
        return value

    def tokenizer(self, value: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
        """The policy for vocabularies as `tokenizer` says it, with models read; None if there is none."""
        source, tokenizer = value.get("tokenizer_source"), value.get("tokenizer")
        if tokenizer is None:
            return None if source is None else {"source": self.token_model(source, f"{where}tokenizer_source")}
        if source is not None:
            self.fault("stands beside tokenizer_source", f"{where}tokenizer", "one of the two")
        if not isinstance(tokenizer, Mapping):
            self.fault(f"{tokenizer!r:.80} is not a mapping", f"{where}tokenizer", "tokenizer: {source: base}")
            return None
        self.only(tokenizer, TOKENIZER, f"{where}tokenizer.")
        found = {k: v for k, v in tokenizer.items() if k in TOKENIZER and v is not None}
        found["source"] = self.token_model(found.get("source", "union"), f"{where}tokenizer.source")
        if isinstance(found.get("tokens"), Mapping):
            tokens = found["tokens"].items()
            found["tokens"] = {str(t): self.token(rule, f"{where}tokenizer.tokens.{t}.") for t, rule in tokens}
        elif "tokens" in found:
            self.fault("is not a mapping", f"{where}tokenizer.tokens", "{TOKEN: {source: PATH}}")
        return found

    def conflicts(self, value: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
        """`config_conflict`, consort's own key: which model settles each key that differs; models are read."""
        given = value.get("config_conflict")
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self.fault(f"{given!r:.80} is not a mapping", f"{where}config_conflict", "{rope.rope_theta: PATH}")
            return None
        return {
            str(key): named if isinstance(named, int) else self.token_model(named, f"{where}config_conflict.{key}")
            for key, named in given.items()
        }

    def token(self, rule: Any, where: str) -> Any:
        """Where the row of a token comes from."""
        if not isinstance(rule, Mapping):
            self.fault(f"{rule!r:.80} is not a mapping", where.rstrip("."), "{source: PATH, force: false}")
            return rule
        self.only(rule, ("source", "force"), where)
        source = rule.get("source")
        if not isinstance(source, Mapping) or "kind" not in source:
            return {**rule, "source": self.token_model(source, f"{where}source")}
        if "model" not in source:
            return rule
        return {**rule, "source": {**source, "model": self.token_model(source["model"], f"{where}source.model")}}

    def token_model(self, value: Any, where: str) -> Any:
        if value in ("union", "base"):
            return value
        return self.model({"": value}, "", where)
