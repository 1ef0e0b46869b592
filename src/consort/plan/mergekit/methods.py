"""mergekit's methods and their parameters, with its defaults where consort's are others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from consort.core.params import Param
from consort.merge import methods

IGNORED = ("int8_mask",)
"""Parameters that mergekit has and that do not change a result."""
REQUIRED_WEIGHT: tuple[str, ...] = ("linear", "nuslerp", "multislerp", "task_arithmetic", "ties", "dare_ties")
REQUIRED_WEIGHT += ("dare_linear", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear")


@dataclass(frozen=True)
class Method:
    """A method: whether it uses a base, mergekit's defaults that are not consort's, parameters that only mergekit has.

    `foreign` are those of consort's parameters that mergekit's method lacks.
    """

    name: str
    base: Literal["required", "optional", "ignored"]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @cached_property
    def params(self) -> Mapping[str, Param]:
        """The parameters a file may give, by mergekit's name."""
        own = {p.plan_name: p for p in methods.entry(self.name).params if p.plan_name not in self.foreign}
        return {name: RESCALE if name == "rescale" else p for name, p in own.items()}

    def required(self, name: str) -> bool:
        """Whether mergekit asks for a parameter."""
        return (name == "weight" and self.name in REQUIRED_WEIGHT) or self.params[name].required


RESCALE = Param("rescale", "bool", default=False)
"""True restores the summed magnitude: consort's `rescale: l1`."""

_TRIMMED: dict[str, Any] = {"density": 1.0}
_DROPPED: dict[str, Any] = {"density": 1.0, "rescale": True}
_OWN = ("elect", "scope")

METHODS: Mapping[str, Method] = {
    m.name: m
    for m in (
        Method("arcee_fusion", "required"),
        Method("breadcrumbs", "required", _TRIMMED, _OWN, ("rescale", "int8_mask")),
        Method("breadcrumbs_ties", "required", _TRIMMED, _OWN, ("rescale", "int8_mask")),
        Method("dare_linear", "required", _DROPPED, _OWN, ("int8_mask",)),
        Method("dare_ties", "required", _DROPPED, _OWN, ("int8_mask",)),
        Method("della", "required", _DROPPED, _OWN, ("int8_mask",)),
        Method("della_linear", "required", _DROPPED, _OWN, ("int8_mask",)),
        Method("karcher", "ignored", foreign=("weight",)),
        Method("linear", "ignored"),
        Method("model_stock", "required", {"clamp": False}, ("clamp",)),
        Method("multislerp", "optional"),
        Method("nearswap", "required"),
        Method("nuslerp", "optional"),
        Method("passthrough", "ignored"),
        Method("ram", "required"),
        Method("ramplus_tl", "required"),
        Method("sce", "required", extra=("int8_mask",)),
        Method("slerp", "required"),
        Method("task_arithmetic", "required", extra=("rescale", "density", "int8_mask")),
        Method("ties", "required", _TRIMMED, _OWN, ("int8_mask",)),
    )
}


def elsewhere(name: str) -> bool:
    """Whether some method of mergekit has a parameter of this name."""
    return any(name in method.params or name in method.extra for method in METHODS.values())
