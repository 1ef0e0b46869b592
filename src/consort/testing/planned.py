"""Anything registered, made as a plan makes it: what laws of kinds that are no strategies over models are about."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from consort import lab
from consort.core.params import Param
from consort.core.registry import Registry
from consort.knowledge.build import build
from consort.plan.build import Builder
from consort.plan.expression import parse_kind
from consort.testing.built import database_file

MODELS = ("lab:mirror", "lab:order", "lab:shout")
"""Where a signature asks for models or checkpoints, and nothing is declared."""
ADAPTERS = ("lab:lora-mirror", "lab:lora-order")


def planned(registry: Registry[Any], name: str, **more: Any) -> Any:
    """What a plan makes of a name, with its `example`; `more` are values, by the plan's names, that stand over it."""
    call = parse_kind({name: {**arguments_of(registry, name), **more}}, registry.produces, {}, name)
    return Builder().build(call, registry.produces)


def arguments_of(registry: Registry[Any], name: str) -> dict[str, Any]:
    """The arguments of a plan: models of the lab where some are required, and the decorator's `example`."""
    entry = registry.entry(name)
    needed = [p for p in entry.params if p.required]
    required = {p.plan_name: p for p in needed if p.type in ("checkpoint", "model")}
    folders: dict[str, Any] = {p.plan_name: str(lab.path("reward")) for p in needed if p.name == "folder"}
    folders |= {p.plan_name: database_file() for p in needed if p.name == "database"}
    folders |= {p.plan_name: {"bm25": {"index": index_folder()}} for p in needed if p.type == "retriever"}
    references = {key: _reference(p, entry.options) for key, p in required.items()}
    return {**folders, **references, **entry.options.get("example", {})}


@cache
def index_folder() -> str:
    """An index of a few passages."""
    folder = Path(tempfile.mkdtemp(prefix="consort-law-"))
    for number, text in enumerate(("add two numbers", "say hello to the fox", "the owl eats mice", "a key and a lock")):
        (folder / f"{number}.txt").write_text(text, "utf-8")
    return str(build([folder], folder / "index"))


def _reference(param: Param, options: Mapping[str, Any]) -> Any:
    references = ADAPTERS if options.get("takes") == "adapters" else MODELS
    return list(references) if param.many else references[0]
