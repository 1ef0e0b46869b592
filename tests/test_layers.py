"""The architecture, as a test: a file imports only from layers below it, packages of one layer not each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LAYERS = [
    {"core"},
    {"data", "weights", "knowledge"},
    {"models"},
    {"train", "evaluate"},
    {"distil"},
    {"merge", "mixture", "ensemble", "cooperate", "zoo"},
    {"fuse", "federate", "search", "lab"},
    {"plan", "report"},
    {"runs", "server"},
    {"recipes"},
    {"testing"},
    {"cli"},
]
ROOT = Path(__file__).parents[1] / "src" / "consort"
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT)


def imported_packages(tree: ast.AST) -> set[str]:
    """Top packages of consort that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("consort.")}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(file):
    here = file.relative_to(ROOT).parts[0]
    for there in imported_packages(ast.parse(file.read_text())) & set(RANK):
        assert there == here or RANK[there] < RANK[here], f"{here} must not import {there}"


def test_every_package_has_a_layer():
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert packages <= set(RANK)
