"""Folders whose weights are quantised: they work as models where transformers loads them, and cannot be merged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError, Unsupported
from consort.weights.disk.paths import read_json

QUANTISATION = "quantization_config"
WAY_OUT = (
    "merge the models that they were quantised from, or dequantise them and save them in bfloat16; "
    "as they are they can answer in ensembles, routers and cascades"
)


def is_quantised_config(config: Mapping[str, Any]) -> bool:
    """Whether a configuration, or that of its text part, says so."""
    text = config.get("text_config")
    return bool(config.get(QUANTISATION) or (isinstance(text, Mapping) and text.get(QUANTISATION)))


def is_quantised_folder(folder: Path) -> bool:
    """Whether the configuration in a folder says so; False where there is none that can be read."""
    try:
        return (folder / "config.json").is_file() and is_quantised_config(read_json(folder / "config.json"))
    except ConsortError:  # whoever opens it says what is wrong with it
        return False


def not_mergeable(field: str, what: str = "the weights are quantised") -> Unsupported:
    """The error for weights that cannot be read as numbers."""
    return Unsupported(what, field=field, hint=WAY_OUT)
