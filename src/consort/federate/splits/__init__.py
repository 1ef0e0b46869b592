"""How one data set is cut into clients' parts, for simulations; a kind of thing in plans, one file each."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

SPLITS: Registry[Any] = Registry("split", "consort.federate.splits", decorator="split", produces="split")
split = SPLITS.registrar()
