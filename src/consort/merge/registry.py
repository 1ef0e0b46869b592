"""The registry of merge methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consort.core.dtypes import FLOATS
from consort.core.params import Param
from consort.core.registry import Registry

if TYPE_CHECKING:
    from consort.merge.method import Method


methods: Registry[Method] = Registry(
    "merge",
    "consort.merge.methods",
    decorator="method",
    produces="checkpoint",
    inputs=(
        Param("models", "checkpoint", many=True),
        Param("base", "checkpoint", default=None, optional=True),
        Param("statistics", "checkpoint", default=None, many=True, optional=True),
        Param("tokenizer", "tokenizer", default=None, optional=True, fixed=True),
        Param("missing", "choice", default=None, choices=("base", "available"), optional=True, fixed=True),
        Param("config_conflict", "inputs by key", default=None, optional=True, fixed=True),
        Param("dtype", "choice", default=None, choices=FLOATS, optional=True, fixed=True),
    ),
)
