"""The parts list of an installed consort: CycloneDX 1.5 as JSON, from the metadata of installed packages alone.

ENVIRONMENT/bin/python release/sbom.py > consort.cdx.json
"""

from __future__ import annotations

import json
import uuid
from importlib import metadata
from typing import Any

from licences import Dependency, canonical, closure, described, requirements


def reference(name: str, version: str) -> str:
    """A package's address in no registry in particular."""
    return f"pkg:pypi/{name}@{version}"


def component(one: Dependency, kind: str = "library") -> dict[str, Any]:
    """One part."""
    is_expression = " " in one.licence
    licence = {"expression": one.licence} if is_expression else {"license": {"name": one.licence}}
    about: dict[str, Any] = {
        "type": kind,
        "bom-ref": reference(one.name, one.version),
        "name": one.name,
        "version": one.version,
        "purl": reference(one.name, one.version),
        "licenses": [licence],
    }
    if one.home:
        about["externalReferences"] = [{"type": "website", "url": one.home}]
    return about


def document(root: str = "consort") -> dict[str, Any]:
    """The whole list, the same bytes for the same packages."""
    parts = closure(root)
    versions = {one.name: one.version for one in parts}
    own = described(metadata.distribution(root), "")
    needs = []
    for name, version in {own.name: own.version, **versions}.items():
        inner = {canonical(n) for n, _ in requirements(metadata.distribution(name), "")} & versions.keys()
        needs.append({"ref": reference(name, version), "dependsOn": sorted(reference(n, versions[n]) for n in inner)})
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([own.version, versions], sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": component(own, "application")},
        "components": [component(one) for one in parts],
        "dependencies": needs,
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=1))
