"""Anything registered, made as a plan makes it: what laws of kinds that are no strategies over models are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consort import lab
from consort.core.params import Param
from consort.core.registry import Registry
from consort.plan.build import Builder
from consort.plan.expression import parse_kind

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
    required = {p.plan_name: p for p in entry.params if p.required and p.type in ("checkpoint", "model")}
    folders = {p.plan_name: str(lab.path("reward")) for p in entry.params if p.required and p.name == "folder"}
    references = {key: _reference(p, entry.options) for key, p in required.items()}
    return {**folders, **references, **entry.options.get("example", {})}


def _reference(param: Param, options: Mapping[str, Any]) -> Any:
    references = ADAPTERS if options.get("takes") == "adapters" else MODELS
    return list(references) if param.many else references[0]
