"""Stages of a check of claims, one a file: each takes all claims of all answers and gives them back, further on.

    decompose -> decontextualise -> checkworthy -> query -> (retriever) -> (pair scorer) -> correct

A stage says by `place` which of these it is. Importing this imports no torch.
"""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

stages: Registry[Any] = Registry("stage", "consort.cooperate.detect.stages", decorator="stage", produces="stage")
stage = stages.registrar()
"""The decorator that makes a class of this package a stage: `decompose: {asked_claims: {model: a}}` in plans."""
