"""One door for weights at rest: a path to a model folder or to an adapter folder becomes a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path, PurePath

from consort.core.errors import BadCheckpoint
from consort.weights.adapters.files import ADAPTER_CONFIG
from consort.weights.adapters.lora import Adapted, open_adapter
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.card import declared_base
from consort.weights.disk.folder import CONFIG, check_directory, open_folder

log = logging.getLogger(__name__)


def open_checkpoint(path: str | Path, *, base: Checkpoint | None = None, allow_remote_code: bool = False) -> Checkpoint:
    """The checkpoint in a folder, checked as far as headers tell; an adapter's folder needs its `base`.

    Raises BadCheckpoint, Incompatible, Unsupported. An adapter's base is never fetched from where its folder says:
    that is a stranger's word. A base of another name than it says is used, and reported as a warning in the log.
    """
    path = Path(path)
    check_directory(path)
    if not is_adapter(path):
        return open_folder(path, allow_remote_code=allow_remote_code)
    adapter = open_adapter(path)
    if base is None:
        named = next(iter(declared_base(path)), None)
        if named is None:
            field, hint = f"{path / ADAPTER_CONFIG}: base_model_name_or_path", "give the base it was trained on"
            raise BadCheckpoint("is an adapter that names no base", field=field, hint=hint)
        hint = f"give its base, which it calls {named!r}: {{hf: {path.name}, base: MODEL}}"
        raise BadCheckpoint("is an adapter, not a model", field=str(path), hint=hint)
    _warn_of_other_base(adapter.name, adapter.config.get("base_model_name_or_path"), base.name)
    return Adapted(base, adapter)


def _warn_of_other_base(adapter: str, declared: object, given: str) -> None:
    if isinstance(declared, str) and declared and PurePath(declared).name.lower() != PurePath(given).name.lower():
        log.warning("%s was trained on %s, by its own word, and is laid over %s", adapter, declared, given)


def is_adapter(path: str | Path) -> bool:
    """Whether a folder holds an adapter rather than a model (peft may save the model's configuration beside it)."""
    path = Path(path)
    if not (path / ADAPTER_CONFIG).is_file():
        return False
    has_weights = any(not file.name.startswith("adapter_") for file in path.glob("*.safetensors"))
    return not ((path / CONFIG).is_file() and has_weights)
