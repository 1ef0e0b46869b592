"""The registry of merge methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consort.core.params import Param
from consort.core.registry import Registry

if TYPE_CHECKING:
    from consort.merge.method import Method

methods: Registry[Method] = Registry(
    "merge",
    "consort.merge.methods",
    decorator="method",
    produces="checkpoint",
    inputs=(Param("models", "checkpoint", many=True), Param("base", "checkpoint", default=None, optional=True)),
)
