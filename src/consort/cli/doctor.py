"""`consort doctor`: versions, devices, extras, write access; what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import re
from typing import Any

from consort.cli.options import Debug, Json
from consort.cli.output import print_json, print_table
from consort.core.lock import HAS_LOCKS

LIBRARIES = ("consort", "torch", "transformers", "safetensors", "numpy")


def doctor(json: Json = False, debug: Debug = False) -> None:
    """Versions, devices, extras present, write access; what is missing and how to get it."""
    found = examine()
    if json:
        print_json(found)
        return
    rows = [(name, version) for name, version in found["versions"].items()]
    rows += [("cores", str(found["cores"])), ("devices", ", ".join(found["devices"]))]
    rows += [("write access here", "yes" if found["writable"] else "no")]
    rows += [("locks of files", "yes" if found["locks"] else "none: let no two runs write one folder")]
    rows += [
        (f"extra {name}", "present" if ok else f'pip install "consort[{name}]"') for name, ok in found["extras"].items()
    ]
    print_table(("what", "found"), rows, numbers=False)


def examine() -> dict[str, Any]:
    """The same as plain values."""
    from importlib import metadata

    return {
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES},
        "cores": cores(),
        "devices": _devices(),
        "writable": os.access(".", os.W_OK),
        "locks": HAS_LOCKS,
        "extras": {name: all(map(_installed, packages)) for name, packages in extras().items()},
    }


def extras() -> dict[str, list[str]]:
    """The packages of each extra of the installed consort, but of those for its developers."""
    from importlib import metadata

    found: dict[str, list[str]] = {}
    for requirement in metadata.requires("consort") or []:
        said = re.fullmatch(r"([\w.-]+).*; *extra == ['\"](\w+)['\"]", requirement)
        if said and said[2] != "dev":
            found.setdefault(said[2], []).append(said[1])
    return found


def _installed(package: str) -> bool:
    from importlib import metadata

    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    import torch

    found = ["cpu"]
    found += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return found
