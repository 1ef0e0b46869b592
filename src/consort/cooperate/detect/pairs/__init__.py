"""Pair scorers, one kind a file: how a hypothesis follows from a premise. Importing this imports no torch."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

pair_scorers: Registry[Any] = Registry(
    "pair_scorer", "consort.cooperate.detect.pairs", decorator="pair_scorer", produces="pair_scorer", reference="nli"
)
pair_scorer = pair_scorers.registrar()
"""The decorator that makes a class of this package a pair scorer: `nli: {asked: {model: …}}`; else a folder."""
