"""Public is what stands in `__all__`, sorted; and importing consort is cheap."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "consort"
PACKAGES = ["consort", *(f"consort.{p.parent.name}" for p in sorted(ROOT.glob("*/__init__.py")))]
HEAVY = ("torch", "transformers", "safetensors.torch", "datasets", "optuna")


def order(name):
    """Constants, then classes, then functions."""
    return (2 if name[0].islower() else 0 if name.isupper() else 1, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_exported_names_are_sorted_and_exist(package):
    module = importlib.import_module(package)
    names = list(getattr(module, "__all__", []))
    assert names in (sorted(names, key=order), sorted(names))
    for name in names:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_nothing_heavy(package):
    code = f"import sys, {package}; print([m for m in {HEAVY!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
