"""From a checked expression to objects: checkpoints and models, each reference opened once."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consort.core.errors import BadParameter, ConsortError, together
from consort.models.placement import OPEN, Placement, held
from consort.plan.adapter_base import base_by_word
from consort.plan.expression import Call, Node, Part, Plan, Reference, dump, read_plan
from consort.plan.kinds import find, is_expression
from consort.plan.places import check_places
from consort.plan.references import folder_of
from consort.plan.schemes import scheme_of

if TYPE_CHECKING:
    from consort.models.base import LanguageModel
    from consort.weights.checkpoint import Checkpoint


def build(plan: Plan, wanted: str = "model", *, allow_remote_code: bool = False) -> Any:
    """The object that a plan describes; `wanted` is "model" or "checkpoint"."""
    check_places([plan])
    return Builder(plan.seed, allow_remote_code).build(plan.root, wanted)


def load(reference: str | Path, *, base: str | Path | Checkpoint | None = None) -> Checkpoint:
    """A checkpoint, lazy: a model folder, an adapter folder over its base, `lab:NAME`, `hf:ORG/NAME` or a plan file.

    >>> import consort
    >>> base = consort.load("lab:base")
    >>> len(base.keys()), base.config["model_type"]
    (38, 'llama')
    """
    if base is None:
        built: Checkpoint = build(read_plan(reference), "checkpoint")
        return built
    from consort.weights import open_checkpoint

    opened = load(base) if isinstance(base, str | Path) else base
    laid: Checkpoint = open_checkpoint(folder_of(str(reference)), base=opened)
    return laid


def model(
    source: str | Path | Checkpoint,
    *,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    template: str | None = None,
) -> LanguageModel:
    """A language model: from a reference, a plan file, or a checkpoint object.

    `dtype` (a name, or "auto" for the files' own), `device` (cpu, cuda, cuda:1, mps) or `device_map` (accelerate's) say
    how its weights are held, `template` (own, required, none) how chats are written, for every model of a plan that
    says nothing of its own.

    >>> import consort
    >>> consort.model("lab:mirror").generate(["mirror a b c ="])[0].text
    ' c b a'
    """
    if isinstance(source, str | Path):
        read, placement = read_plan(source), Placement(dtype, device, device_map, template)
        if isinstance(read.root, Reference):
            read = replace(read, root=replace(read.root, placement=read.root.placement.over(placement)))
        with held(dtype=dtype, device=device, device_map=device_map, template=template):
            built: LanguageModel = build(read, "model")
        return built
    from consort.models.hf.loading import load_model

    placed: dict[str, Any] = {"dtype": dtype, "device": device, "device_map": device_map}
    return load_model(source, template=template, **placed)


class Builder:
    """Builds nodes; equal nodes become one object, so a model named twice is loaded once."""

    def __init__(self, seed: int = 0, allow_remote_code: bool = False) -> None:
        self.seed, self.allow_remote_code = seed, allow_remote_code
        self._built: MutableMapping[str, Any] = {}

    def aside(self) -> Builder:
        """A builder that has what this one has built so far, and keeps to itself what it builds from now on."""
        own = Builder(self.seed, self.allow_remote_code)
        own._built = ChainMap({}, self._built)
        return own

    def build(self, node: Node, wanted: str) -> Any:
        """The object of a node, the same one for an equal node; `wanted` is "model", "checkpoint" or "adapter"."""
        key = f"{wanted} {json.dumps(dump(node), sort_keys=True)}"
        if key not in self._built:
            self._built[key] = self._make(node, wanted)
        return self._built[key]

    def _make(self, node: Node, wanted: str) -> Any:
        if wanted in ("adapter", "checkpoint") or (isinstance(node, Call) and node.produces != "checkpoint"):
            return self._open(node, wanted) if isinstance(node, Reference) else self._call(node)
        from consort.models import load_model
        from consort.weights import is_adapter

        if not isinstance(node, Reference):
            return load_model(_refuse_adapter(self.build(node, "checkpoint")))
        if opener := scheme_of(node.text).model:
            return opener(node.text, self._built)
        options: dict[str, Any] = {"tokenizer": node.tokenizer, **node.placement.to_json()}
        folder = folder_of(node.text)
        if (folder / "config.json").exists() and not is_adapter(folder):
            return load_model(folder, name=node.text, allow_remote_code=self.allow_remote_code, **options)
        laid = self.build(replace(node, placement=OPEN, tokenizer=None), "checkpoint")
        return load_model(_refuse_adapter(laid), **options)

    def _open(self, node: Reference, wanted: str) -> Checkpoint:
        """A folder's checkpoint; wanted as an adapter, an adapter's folder is that and nothing is laid under it."""
        from consort.weights import is_adapter, open_adapter, open_checkpoint

        folder = folder_of(node.text)
        if wanted == "adapter" and node.base is None and is_adapter(folder):
            adapter: Checkpoint = open_adapter(folder)
            return adapter
        base = node.base or base_by_word(folder)
        opened = self.build(Reference(base), "checkpoint") if base else None
        code = self.allow_remote_code
        laid: Checkpoint = open_checkpoint(folder, base=opened, other_base=node.other_base, allow_remote_code=code)
        return laid

    def _call(self, node: Call) -> Any:
        registry, entry = find(f"{node.kind}.{node.name}")
        params = {p.plan_name: p for p in (*registry.inputs, *entry.params)}
        arguments, faults = {}, []
        for key, value in node.arguments.items():
            param = params[key]
            of_adapters = param.name.startswith("model") and entry.options.get("takes") == "adapters"
            kind = "adapter" if of_adapters else param.type
            try:
                arguments[param.name] = self._nodes(value, kind) if is_expression(param) else value
            except ConsortError as fault:
                faults.append(fault)
        if faults:
            raise together(faults)
        try:
            if registry.kind == "merge":
                from consort.merge import merge

                return merge(node.name, seed=self.seed, **arguments)
            return registry.get(node.name)(**arguments)
        except ConsortError as error:
            raise error.within(node.name) from None

    def _nodes(self, value: Any, wanted: str) -> Any:
        if isinstance(value, tuple):
            return self._each(value, wanted)
        if isinstance(value, Part):
            from consort.weights import Slice

            return Slice(self.build(value.model, "checkpoint"), value.layers)
        built = self.build(value, wanted)
        return _refuse_adapter(built) if wanted == "checkpoint" else built

    def _each(self, values: tuple[Any, ...], wanted: str) -> list[Any]:
        """What a list of expressions makes, or all that is wrong with them in one error."""
        built, faults = [], {}
        for value in values:
            try:
                built.append(self._nodes(value, wanted))
            except ConsortError as fault:
                faults[str(fault)] = fault
        if faults:
            raise together(faults.values())
        return built


def _refuse_adapter(ckpt: Checkpoint) -> Checkpoint:
    """The same checkpoint, which must be a model."""
    if "peft_type" in ckpt.config:
        hint = "lay it over its base: apply_adapter: {model: …, base: …}"
        raise BadParameter(f"{ckpt.name} is an adapter, not a model", hint=hint)
    return ckpt
