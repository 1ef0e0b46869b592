from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import consort.weights


def test_every_public_name_is_there_and_sorted() -> None:
    assert consort.weights.__all__ == sorted(consort.weights.__all__)
    assert all(getattr(consort.weights, name).__name__ == name for name in consort.weights.__all__)
    with pytest.raises(AttributeError, match="ghost"):
        consort.weights.ghost  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, consort.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_reading_and_writing_import_neither_transformers_nor_peft() -> None:
    import consort.weights

    found = pkgutil.walk_packages(consort.weights.__path__, "consort.weights.")
    imports = "".join(f"import {module.name}\n" for module in found)
    script = (
        f"{imports}import sys; sys.exit(any(name in sys.modules for name in ('transformers', 'peft', 'safetensors')))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
