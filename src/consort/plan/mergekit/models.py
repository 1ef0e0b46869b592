"""How mergekit names a model: `path[@revision][+lora[@revision]]` or a mapping; and the same as a consort reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consort.core.errors import BadPlan, did_you_mean

KEYS = ("model", "lora", "override_architecture")
PATH_KEYS = ("path", "revision")
HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
"""A repository, perhaps with a revision. Whatever exists as a folder is a folder."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model and an adapter on it, as consort writes them; equal ones are the same model."""

    model: str
    lora: str | None = None

    def __str__(self) -> str:
        return f"{self.model}+{self.lora}" if self.lora else self.model


def read_model(value: Any, where: str) -> Model:
    """The model that a value names. Raises BadPlan."""
    if isinstance(value, Mapping):
        return _described(value, where)
    if not isinstance(value, str) or not value.strip():
        hint = "a folder, ORG/NAME, lab:NAME, or {model: ..., lora: ...}"
        raise BadPlan(f"{value!r} names no model", field=where, hint=hint)
    model, lora = _split(value)
    return Model(_text(model), _text(lora) if lora else None)


def reference(model: Model) -> Any:
    """The model as a consort plan writes it."""
    return {"hf": model.lora, "base": model.model} if model.lora else model.model


def _described(value: Mapping[str, Any], where: str) -> Model:
    for key in value:
        if key not in KEYS:
            raise BadPlan(f"unknown key {key!r}", field=f"{where}.{key}", hint=did_you_mean(str(key), KEYS))
    if "model" not in value:
        raise BadPlan("no model is named", field=where, hint="{model: PATH, lora: PATH}")
    lora = value.get("lora")
    text = _path(value["model"], f"{where}.model")
    return Model(text, None if lora is None else _path(lora, f"{where}.lora"))


def _path(value: Any, where: str) -> str:
    """A path by itself or with its revision: in a mapping nothing is split at "+"."""
    if isinstance(value, Mapping):
        for key in value:
            if key not in PATH_KEYS:
                raise BadPlan(f"unknown key {key!r}", field=f"{where}.{key}", hint=did_you_mean(str(key), PATH_KEYS))
        revision = value.get("revision")
        value = f"{value.get('path', '')}@{revision}" if revision else value.get("path")
    if not isinstance(value, str) or not value.strip():
        raise BadPlan(f"{value!r} names no model", field=where, hint="a folder, ORG/NAME or lab:NAME")
    return _text(value)


def _split(text: str) -> tuple[str, str | None]:
    """Model and adapter. A folder that exists is never cut; else the cut after which the first part exists wins."""
    if Path(text).is_dir() or "+" not in text:
        return text, None
    cuts = [i for i, c in enumerate(text) if c == "+"]
    cut = next((i for i in cuts if Path(text[:i]).is_dir()), cuts[0])
    return text[:cut], text[cut + 1 :]


def _text(path: str) -> str:
    """A folder, `lab:` or `hf:` name stays; ORG/NAME that is no folder is a repository of the hub."""
    if Path(path).is_dir() or re.match(r"\w+:", path) or not HUB.fullmatch(path):
        return path
    return f"hf:{path}"
