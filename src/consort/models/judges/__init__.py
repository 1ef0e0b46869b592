"""Judges of answers, one kind a file: models that give an answer a number. Importing this imports no torch."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

judges: Registry[Any] = Registry(
    "judge", "consort.models.judges", decorator="judge", produces="judge", reference="reward_model"
)
judge = judges.registrar()
"""The decorator that makes a class of this package a judge: `reward: {llm_judge: {model: …}}`; else a folder."""
