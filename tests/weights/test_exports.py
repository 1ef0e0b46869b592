from __future__ import annotations

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
    whole = (
        "checkpoint",
        "family",
        "disk.card",
        "disk.folder",
        "disk.header",
        "disk.opening",
        "disk.stream",
        "disk.writer",
    )
    modules = [*whole, "disk.whole_folder", "adapters.lora", "views.basic", "vocabulary.align"]
    imports = "".join(f"import consort.weights.{module}\n" for module in modules)
    script = (
        f"{imports}import sys; sys.exit(any(name in sys.modules for name in ('transformers', 'peft', 'safetensors')))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
