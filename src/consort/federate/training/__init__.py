"""What a client learns by: texts, or pairs of answers; a kind of thing in plans, one file each."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

TRAINERS: Registry[Any] = Registry("trainer", "consort.federate.training", decorator="trainer", produces="trainer")
trainer = TRAINERS.registrar()
