"""Licences of what is installed, read from its metadata: a new dependency with one that is not allowed fails here."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "release" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


licences = loaded("licences")
sbom = loaded("sbom")


def test_every_dependency_has_an_allowed_licence() -> None:
    found = licences.closure()
    assert {"torch", "transformers", "numpy", "safetensors"} <= {one.name for one in found}
    assert [f"{one.name}: {one.licence}" for one in found if not one.is_allowed] == []


def test_every_dependency_is_on_the_page() -> None:
    page = licences.PAGE.read_text("utf-8")
    assert [one.name for one in licences.closure() if f"| {one.name} |" not in page] == [], (
        "run python release/licences.py"
    )


@pytest.mark.parametrize(
    ("expression", "is_right"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-2.0-only OR MIT", True),
        ("MIT AND LGPL-3.0-or-later", False),
        ("(GPL-2.0-only OR BSD-3-Clause) AND MIT", True),
        ("(GPL-2.0-only AND BSD-3-Clause) OR AGPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception AND BSL-1.0", True),
        ("unknown", False),
        ("GNU General Public License v3 (GPLv3)", False),
    ],
)
def test_expressions(expression: str, is_right: bool) -> None:
    assert licences.is_allowed(expression) == is_right


def installed(folder: Path, about: str) -> Any:
    from importlib import metadata

    (folder / "x-1.dist-info").mkdir()
    (folder / "x-1.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: x\nVersion: 1\n{about}\n")
    return metadata.Distribution.at(folder / "x-1.dist-info")


@pytest.mark.parametrize(
    ("about", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("Classifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: BSD 3-Clause\nClassifier: License :: OSI Approved :: BSD License", "BSD-3-Clause"),
        ("License: GNU GPL v3", "GNU GPL v3"),
        (
            "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            "GNU General Public License v3 (GPLv3)",
        ),
        ("Summary: nothing is said", "unknown"),
    ],
)
def test_a_licence_is_read_as_it_is_said(about: str, licence: str, tmp_path: Path) -> None:
    assert licences.licence_of(installed(tmp_path, about)) == licence


def test_the_parts_list_is_whole() -> None:
    made = sbom.document()
    assert json.loads(json.dumps(made)) == sbom.document()
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.5")
    names = {part["bom-ref"] for part in made["components"]} | {made["metadata"]["component"]["bom-ref"]}
    assert len(names) == len(made["components"]) + 1
    assert {needs["ref"] for needs in made["dependencies"]} == names
    assert all(set(needs["dependsOn"]) <= names for needs in made["dependencies"])
    assert all(part["licenses"] and part["purl"].endswith(part["version"]) for part in made["components"])
