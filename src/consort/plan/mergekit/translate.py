"""mergekit's YAML (version 0.1.5), translated into a consort plan: plain values that `parse` reads like any plan.

    models | slices | modules, merge_method, base_model, parameters, dtype, out_dtype,
    tokenizer_source | tokenizer, chat_template; several documents with `name`

mergekit's own defaults are written out where consort's differ. What the file says and consort does otherwise is told in
docs/merging.md. Nothing is opened here but to see which folders exist.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.errors import BadPlan, ConsortError, Unsupported, together
from consort.plan.mergekit.methods import METHODS
from consort.plan.mergekit.models import Model, reference
from consort.plan.mergekit.moe import translate_mixture
from consort.plan.mergekit.parameters import Scopes, arguments, check_names, split_gradients
from consort.plan.mergekit.shape import Document, OutputSlice, Parameters, Source, read_document

logger = logging.getLogger(__name__)

MARKS = ("merge_method", "slices", "modules", "tokenizer_source", "out_dtype", "base_model", "experts")
"""Keys that no consort plan has at its top."""


def is_mergekit(document: Any) -> bool:
    """Whether a YAML value is meant for mergekit: by `merge_method` or other keys that only it has."""
    if not isinstance(document, Mapping) or "plan" in document:
        return False
    return any(key in document for key in MARKS) or isinstance(document.get("models"), list)


def translate(documents: Sequence[Any]) -> Any:
    """The consort expression that a mergekit file describes. Raises one error that names all faults of the file."""
    if any(isinstance(document, Mapping) and "experts" in document for document in documents):
        if len(documents) == 1:
            return translate_mixture(documents[0])
        hint = "mergekit-moe's files are one document each"
        raise Unsupported("a mixture of experts is no part of a merge", field="experts", hint=hint)
    faults: list[ConsortError] = []
    read = [read_document(d, faults, _where(d, i, len(documents))) for i, d in enumerate(documents)]
    found = [document for document in read if document]
    made: dict[str | None, Any] = {}
    notes: dict[str, None] = {}
    for document in _in_order(found, faults):
        made[document.name] = _Builder(document, made, faults, notes).whole()
    output = _last(found, faults)
    if faults or not output:
        raise together(_once(faults))
    for note in notes:
        logger.warning(note)
    return made[output.name]


def _once(faults: Sequence[ConsortError]) -> list[ConsortError]:
    """Each fault once: a value for all models is looked at for each of them."""
    return list({str(fault): fault for fault in faults}.values())


def _where(document: Any, i: int, count: int) -> str:
    """A document's place in messages: nothing for a single one."""
    if count == 1:
        return ""
    name = document.get("name") if isinstance(document, Mapping) else None
    return f"{name or f'document {i + 1}'}."


def _in_order(documents: Sequence[Document], faults: list[ConsortError]) -> list[Document]:
    """Each document after those whose name it uses; circles and names that stand twice are faults."""
    names = [document.name for document in documents]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        what = f"the name {name!r} stands twice" if name else "two documents have no name"
        faults.append(BadPlan(what, field="name", hint="each document but the last needs a name of its own"))
    by_name = dict(zip(names, documents, strict=True))
    ordered: list[Document] = []

    def visit(document: Document, above: tuple[str | None, ...]) -> None:
        if document.name in above:
            circle = " -> ".join(map(str, (*above, document.name)))
            faults.append(BadPlan(f"{circle} goes in a circle", field="name", hint="a merge cannot be made of itself"))
        elif document not in ordered:
            for used in _uses(document, by_name):
                visit(by_name[used], (*above, document.name))
            ordered.append(document)

    for document in documents:
        visit(document, ())
    return ordered


def _uses(document: Document, names: Mapping[str | None, Document]) -> list[str]:
    return [m.model for m in document.referenced() if m.model in names]


def _last(documents: Sequence[Document], faults: list[ConsortError]) -> Document | None:
    """The document that no other uses: the output."""
    by_name = {document.name: document for document in documents}
    used = {name for document in documents for name in _uses(document, by_name)}
    final = [document for document in documents if document.name not in used]
    if len(final) != 1 and not faults:
        names = ", ".join(document.name or "(no name)" for document in final)
        faults.append(BadPlan(f"{names} are used by no other document", field="name", hint="one merge is the output"))
    return final[0] if final else None


class _Builder:
    """Makes the expression of one document; `made` are those of the documents that it may use."""

    def __init__(
        self,
        document: Document,
        made: Mapping[str | None, Any],
        faults: list[ConsortError],
        notes: dict[str, None],
    ) -> None:
        self.document, self.made, self.faults, self.notes = document, made, faults, notes
        self.method = METHODS[document.method]

    def whole(self) -> Any:
        document = self.document
        if document.parts:
            return self._assembled()
        self._look()
        if document.models is not None:
            built = self._merge(document.models, document.base, {}, document.where, cut=None)
        else:
            built = self._sliced(document.slices or ())
        dtype, template = document.dtype, document.chat_template
        [(name, given)] = built.items()
        built = {name: {**given, "dtype": dtype}} if dtype else built
        return {"chat_template": {"model": built, "template": template}} if template else built

    def _assembled(self) -> Any:
        """Each module merged by itself and its part taken from that merge; the rest is the base's or the first's."""
        parts = self.document.parts
        made = [_Builder(one, self.made, self.faults, self.notes).whole() for _, one in parts]
        donor = self.document.base or parts[0][1].referenced()[0]
        return {"assemble": {"models": made, "parts": [part for part, _ in parts], "base": self._reference(donor)}}

    def _look(self) -> None:
        """Finds parameters without meaning before any is used."""
        self.notes |= dict.fromkeys(self.document.notes)
        for block, where, of_input in self.document.scopes():
            self.notes |= dict.fromkeys(check_names(self.method, block, where, of_input, self.faults))
        blocks = [block for block, _, _ in self.document.scopes()]
        if self.method.defaults.get("density") == 1 and not any("density" in block for block in blocks):
            self.notes[f"{self.method.name} without density keeps every entry: mergekit's default is 1"] = None

    def _sliced(self, slices: Sequence[OutputSlice]) -> Any:
        """Each output slice merged by itself, its layers numbered as in the output, then all stacked."""
        first, parts = 0, []
        for part in slices:
            start, stop = part.sources[0].layers
            if self._is_plain(part):
                parts.append({"model": self._reference(part.sources[0].model), "layers": [start, stop]})
            else:
                base = part.base or self.document.base
                merged = self._merge(part.sources, base, part.parameters, part.where, cut=first)
                parts.append({"model": merged, "layers": [first, first + stop - start]})
            first += stop - start
        base = self.document.base
        if len(parts) == 1 and not self._is_plain(slices[0]) and (base is None or self.method.base != "ignored"):
            return parts[0]["model"]
        return {"stack": {"slices": parts, **({"base": self._reference(base)} if base else {})}}

    def _is_plain(self, part: OutputSlice) -> bool:
        """Whether layers are only put in another place."""
        blocks = (part.sources[0].parameters, part.parameters, self.document.module, self.document.parameters)
        return self.method.name == "passthrough" and len(part.sources) == 1 and not any("scale" in b for b in blocks)

    def _merge(
        self, sources: Sequence[Source], base: Model | None, of_slice: Parameters, where: str, *, cut: int | None
    ) -> Any:
        """A call of the method on the sources, or on their layers where `cut` is the number of the first one."""
        under, over = self._split(sources, base, where)
        given: dict[str, Any] = {"models": [self._cut(source, cut) for source in over]}
        if under is not None:
            given["base"] = self._cut(under, cut)
            if under.parameters:
                self.notes[f"{under.where}parameters have no effect: {under.model} is the base"] = None
        elif base is not None and cut is None:
            given["base"] = self._reference(base)
        given |= self._tokenizer([source.model for source in over] + ([base] if "base" in given and base else []))
        if self.document.config_conflict:
            inputs = [source.model for source in over] + ([under.model] if under is not None else [])
            given["config_conflict"] = self._numbered(self.document.config_conflict, inputs, "config_conflict")
        outer: Scopes = (
            (of_slice, where),
            (self.document.module, self.document.module_where),
            (self.document.parameters, self.document.where),
        )
        of_inputs = [((source.parameters, source.where), *outer) for source in over]
        found = arguments(self.method, outer, of_inputs, self.faults)
        for name, value in found.items():
            if split_gradients(value):
                self.notes[f"{name}: mergekit gives the final norm and the head the first value of a gradient"] = None
        return {self.method.name: given | found}

    def _tokenizer(self, inputs: Sequence[Model]) -> dict[str, Any]:
        """The policy for vocabularies, models in it as numbers of the inputs.

        Slices of different models cannot be brought to one vocabulary each by itself: theirs must be equal.
        """
        policy, slices = self.document.tokenizer, self.document.slices or ()
        if policy is None:
            return {}
        if len({tuple(source.model for source in part.sources) for part in slices}) > 1:
            if len(policy) > 1:
                hint = "bring the models to one vocabulary first, then stack them"
                message = "tokens and padding of slices that have different models are not available"
                self.faults.append(Unsupported(message, field=f"{self.document.where}tokenizer", hint=hint))
            return {}
        numbered = self._numbered(policy, inputs)
        return {"tokenizer": numbered["source"] if len(numbered) == 1 else numbered}

    def _numbered(self, value: Any, inputs: Sequence[Model], key: str = "tokenizer") -> Any:
        if isinstance(value, Mapping):
            return {name: self._numbered(v, inputs, key) for name, v in value.items()}
        if not isinstance(value, Model):
            return value
        if value not in inputs:
            hint = f"one of {', '.join(map(str, inputs))}"
            self._fault(f"{value} is not an input", f"{self.document.where}{key}", hint)
            return "base"
        return list(inputs).index(value)

    def _split(self, sources: Sequence[Source], base: Model | None, where: str) -> tuple[Source | None, list[Source]]:
        """The base among the sources, where the method uses one, and the others: a model may stand there twice."""
        if self.method.base == "ignored" or (base is None and self.method.base == "optional"):
            return None, list(sources)
        if base is None:
            hint = "base_model: the model that the others were made from"
            self._fault(f"{self.method.name} needs a base_model", f"{self.document.where}base_model", hint)
            return None, list(sources)
        place = next((i for i, source in enumerate(sources) if source.model == base), None)
        if place is not None:
            return sources[place], [source for i, source in enumerate(sources) if i != place]
        if self.document.models is None:
            hint = f"add {base} to the sources: that says which of its layers belong here"
            self._fault("the base_model is not among the sources", f"{where}sources", hint)
        return Source(base, {}, (0, 1), where), list(sources)

    def _fault(self, message: str, field: str, hint: str) -> None:
        self.faults.append(BadPlan(message, field=field, hint=hint))

    def _cut(self, source: Source, first: int | None) -> Any:
        """A source, or those of its layers that its slice has, numbered as in the output."""
        model = self._reference(source.model)
        if first is None:
            return model
        numbered = {"first_layer": first} if first else {}
        return {"stack": {"slices": [{"model": model, "layers": list(source.layers)}], **numbered}}

    def _reference(self, model: Model) -> Any:
        made = self.made.get(model.model) if model.lora is None else None
        return reference(model) if made is None else made
