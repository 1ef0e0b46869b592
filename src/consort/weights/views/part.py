"""Parts of a vision-language model: its language model by itself, and a model put together from parts of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from consort.core.errors import BadParameter, Incompatible, Unsupported, listing
from consort.weights.architecture.loaded import Loaded
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, whole
from consort.weights.family import text_config
from consort.weights.registry import view
from consort.weights.views.basic import View

VISION = re.compile(r"(^|\.)(vision_tower|vision_model|vision_encoder|visual|image_encoder|audio_tower|embed_audio)\.")
PROJECTOR = re.compile(r"(^|\.)(multi_modal_projector|mm_projector|projector|connector|aligner|embed_vision)\.")
LANGUAGE = re.compile(r"^(model\.language_model|language_model\.model|model\.text_model|language_model)\.")
"""Where the language model lies in a vision-language model, as it is loaded."""
PARTS = ("text", "vision", "projector")


def part_of(name: str) -> str:
    """The part that a tensor belongs to.

    >>> part_of("model.visual.blocks.0.attn.qkv.weight"), part_of("lm_head.weight")
    ('vision', 'text')
    """
    return "vision" if VISION.search(name) else "projector" if PROJECTOR.search(name) else "text"


@view(paper="")
class Part(View):
    """The language model of a vision-language model, as a text model of its own; a text model is itself.

    `part`: "text" is the only one that stands alone. Raises Unsupported.
    """

    def __init__(self, model: Checkpoint, *, part: Literal["text"] = "text") -> None:
        super().__init__(model, f"{model.name}[{part}]")
        self.model, self.part = model, part
        self._names = text_names(model)

    @property
    def config(self) -> Mapping[str, Any]:
        return text_alone(self.model.config)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._names)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self.model.spec(self._there(name))

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        self.model.read_into(self._there(name), start, stop, out)

    def _there(self, name: str) -> str:
        if name not in self._names:
            raise no_tensor(self, name)
        return self._names[name]


@view(paper="")
class Assemble:
    """One model of parts of several: number k of `parts` is that of number k of `models`, all else is `base`'s.

    A part is "text", "vision" or "projector"; a text model may give the text of a vision-language model. `base` is the
    first of the models where none is given; it gives the configuration and the files as well. Raises BadParameter,
    Incompatible, Unsupported.
    """

    def __init__(self, models: Sequence[Checkpoint], *, parts: Sequence[str], base: Checkpoint | None = None) -> None:
        self.models, self.parts, self.base = tuple(models), tuple(parts), base
        _check_parts(self.models, self.parts)
        self._donor = base or self.models[0]
        self.name = f"assemble({', '.join(f'{m.name}[{p}]' for m, p in zip(self.models, self.parts, strict=True))})"
        self._origin = {name: (self._donor, name) for name in self._donor.keys()}
        for model, part in zip(self.models, self.parts, strict=True):
            self._origin |= self._of_part(model, part)

    @property
    def config(self) -> Mapping[str, Any]:
        return self._donor.config

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        found = [*self.models, *([] if self.base is None else [self.base])]
        return tuple({id(model): model for model in found}.values())

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._origin)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        source, there = self._find(name)
        return source.spec(there)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        source, there = self._find(name)
        source.read_into(there, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return self._donor.files()

    def _find(self, name: str) -> tuple[Checkpoint, str]:
        if name not in self._origin:
            raise no_tensor(self, name)
        return self._origin[name]

    def _of_part(self, model: Checkpoint, part: str) -> dict[str, tuple[Checkpoint, str]]:
        """The donor's names of one part, each with its source in `model`, of which nothing may be left over."""
        own = [name for name in self._donor.keys() if part_of(name) == part]
        theirs = {name: name for name in model.keys() if part_of(name) == part}
        if part == "text" and set(own) != set(theirs):
            here, there = text_names(self._donor), text_names(model)
            back = {name: text for text, name in here.items()}
            theirs = {name: there[back[name]] for name in own if back.get(name) in there}
            over = [name for name in there if name not in here]
        else:
            over = [name for name in theirs if name not in own]
        faults = [f"{name} is missing from {model.name}" for name in own if name not in theirs]
        faults += [f"{name} is only in {model.name}" for name in over]
        faults += [
            f"{name} is {list(self._donor.spec(name).shape)}, in {model.name} {list(model.spec(theirs[name]).shape)}"
            for name in own
            if name in theirs and self._donor.spec(name).shape != model.spec(theirs[name]).shape
        ]
        if faults:
            raise Incompatible(listing(faults, 3), field=f"parts: {part}", hint="models of one architecture and size")
        return {name: (model, theirs[name]) for name in own}


def text_names(model: Checkpoint) -> dict[str, str]:
    """For each tensor of the language model, as a text model calls it, its name in `model`."""
    if text_config(model.config) is model.config and not any(part_of(name) != "text" for name in model.keys()):
        return {name: name for name in model.keys()}
    names = {name: there for there, name in Loaded(model).names_when_loaded().items() if part_of(name) == "text"}
    inside = {LANGUAGE.sub("model.", name): there for name, there in names.items() if LANGUAGE.match(name)}
    if not inside:
        hint = "models whose language model has a place of its own: language_model, text_model"
        raise Unsupported("has no language model that can be told from the rest", field=model.name, hint=hint)
    return inside | {name: there for name, there in names.items() if not LANGUAGE.match(name)}


def text_alone(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of a language model by itself.

    Rotary positions in three dimensions are those of a text model where there is text alone.
    """
    text = dict(text_config(config))
    kind = str(text.get("model_type", "")).removesuffix("_vl_text")
    if text_config(config) is config and not kind.endswith("_vl"):
        return config
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    text["model_type"] = kind
    text["architectures"] = [KNOWN[kind]] if kind in KNOWN else None
    text.setdefault("tie_word_embeddings", config.get("tie_word_embeddings", False))
    for key in ("rope_parameters", "rope_scaling"):
        rope = text.get(key)
        if isinstance(rope, Mapping) and "mrope_section" in rope:
            kept = {name: value for name, value in rope.items() if name not in ("mrope_section", "type", "rope_type")}
            text[key] = kept | {"rope_type": "default"}
    return text


def _check_parts(models: Sequence[Checkpoint], parts: Sequence[str]) -> None:
    if len(models) != len(parts) or not models:
        message = f"{len(parts)} parts of {len(models)} models"
        raise BadParameter(message, field="parts", hint="one part for each model, e.g. [text]")
    for part in parts:
        if part not in PARTS:
            raise BadParameter(f"{part!r} is no part", field="parts", hint=" | ".join(PARTS))
    if len(set(parts)) < len(parts):
        raise BadParameter("one part is named twice", field="parts", hint="each part from one model")
