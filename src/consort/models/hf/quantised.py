"""Folders of quantised weights (bitsandbytes, GPTQ, AWQ, fp8, compressed-tensors, ...), left to transformers.

consort does not read such weights: they cannot be merged, but the model in the folder can work as others do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consort.core.errors import BadCheckpoint, MissingExtra, listing
from consort.models.hf.build import Placing, causal_class, drop_with, load_errors, placed
from consort.models.hf.quiet import quiet
from consort.models.tokens.tokenizer import one_line
from consort.weights.disk.folder_check import BESIDE, CONFIG, label
from consort.weights.disk.paths import inside, present, read_json
from consort.weights.disk.quantised import is_quantised_config

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QuantisedFolder:
    """What can be told of a quantised folder without its weights: as `Checkpoint`, no tensors."""

    path: Path
    name: str
    config: Mapping[str, Any]

    def files(self) -> Mapping[str, Path | bytes]:
        return {**present(self.path, BESIDE)}


def quantised_folder(path: Path, *, allow_remote_code: bool = False) -> QuantisedFolder | None:
    """The quantised model in a folder, or None where the weights are plain, or the folder is none."""
    if not (path / CONFIG).is_file():
        return None
    config = read_json(inside(path, CONFIG, source=CONFIG))
    if not is_quantised_config(config):
        return None
    if not list(path.glob("*.safetensors")):
        raise BadCheckpoint("has no safetensors", field=str(path), hint="other kinds of quantised files are not read")
    return QuantisedFolder(path, label(path)[0], config)


def build_quantised(folder: QuantisedFolder, placing: Placing, allow_remote_code: bool = False) -> Any:
    """The module that transformers makes of the folder. Raises MissingExtra for a package that it wants for this."""
    from transformers import AutoConfig

    where = placed(placing) if placing.device_map is not None else {"device_map": {"": str(placing.device)}}
    with quiet(), load_errors(folder.name):
        config = AutoConfig.from_pretrained(folder.path, trust_remote_code=allow_remote_code, local_files_only=True)
        kind = causal_class(config, folder.name)
        try:
            module, found = kind.from_pretrained(
                folder.path,
                dtype="auto" if placing.dtype is None else placing.dtype,
                trust_remote_code=allow_remote_code,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **where,
            )
        except ImportError as error:
            method = _method(folder.config)
            hint = f"install the package that transformers names, or take a folder that is not quantised ({method})"
            raise MissingExtra(f"cannot be loaded: {one_line(error)}", field=folder.name, hint=hint) from error
    drop_with(module, where)
    _check_whole(found, folder.name)
    return module


def _check_whole(found: Mapping[str, Any], name: str) -> None:
    """Raise BadCheckpoint where transformers left weights as they were drawn; what it did not use is a warning."""
    missing = sorted(found["missing_keys"]) + sorted(map(str, found["mismatched_keys"]))
    if missing:
        hint = "do the weights and the quantization_config of config.json belong together?"
        raise BadCheckpoint(f"lacks {listing(missing, 5)}", field=name, hint=hint)
    if found["unexpected_keys"]:
        LOG.warning("%s: not used: %s", name, listing(sorted(found["unexpected_keys"]), 5))


def _method(config: Mapping[str, Any]) -> str:
    """What a folder calls its kind of quantisation."""
    found = config.get("quantization_config") or config.get("text_config", {}).get("quantization_config")
    return str(found.get("quant_method", "unknown")) if isinstance(found, dict) else "unknown"
