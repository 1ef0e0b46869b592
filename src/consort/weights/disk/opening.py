"""One door for weights at rest: a path to a model folder or to an adapter folder becomes a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path, PurePath

from consort.core.errors import BadCheckpoint, Incompatible
from consort.weights.adapters.files import ADAPTER_CONFIG, is_adapter
from consort.weights.adapters.lora import Adapted, open_adapter
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.card import OnDisk, declared_base
from consort.weights.disk.folder import open_folder
from consort.weights.disk.folder_check import check_directory

log = logging.getLogger(__name__)


def open_checkpoint(
    path: str | Path,
    *,
    base: Checkpoint | None = None,
    other_base: bool = False,
    allow_remote_code: bool = False,
) -> Checkpoint:
    """The checkpoint in a folder, checked as far as headers tell; an adapter's folder needs its `base`.

    Raises BadCheckpoint, Incompatible, Unsupported. An adapter's base is never fetched from where its folder says:
    that is a stranger's word. A folder of another name than it says is refused unless `other_base`; a base computed
    here (a merge) is used, with a warning in the log.
    """
    path = Path(path)
    check_directory(path)
    if not is_adapter(path):
        return open_folder(path, allow_remote_code=allow_remote_code)
    adapter = open_adapter(path)
    if base is None:
        named = next(iter(declared_base(path)), None)
        if named is None:
            field, hint = f"{path / ADAPTER_CONFIG}: base_model_name_or_path", f"give its base: BASE+{path}"
            raise BadCheckpoint("is an adapter that names no base", field=field, hint=hint)
        hint = f"give its base, which it calls {named!r}: BASE+{path}"
        raise BadCheckpoint("is an adapter, not a model", field=str(path), hint=hint)
    check_base(adapter, base, other_base=other_base)
    return Adapted(base, adapter)


def check_base(adapter: Checkpoint, base: Checkpoint, *, other_base: bool = False) -> None:
    """Raise Incompatible where `adapter` says that it was trained on another model than the folder `base`."""
    declared = adapter.config.get("base_model_name_or_path")
    if not isinstance(declared, str) or not declared:
        return
    names = {PurePath(str(name)).name.lower() for name in (base.name, base.config.get("_name_or_path") or base.name)}
    if PurePath(declared).name.lower() in names or _is_same_folder(declared, base):
        return
    if not isinstance(base, OnDisk) or other_base:
        log.warning("%s was trained on %s, by its own word, and is laid over %s", adapter.name, declared, base.name)
        return
    hint = "give that base; if they are one and the same: {hf: ADAPTER, base: BASE, other_base: true}"
    message = f"was trained on {declared}, by its own word, not on {base.name}"
    raise Incompatible(message, field=adapter.name, hint=hint)


def _is_same_folder(declared: str, base: Checkpoint) -> bool:
    """Whether the declared base is a folder on this machine, and the one given (by another name or a link)."""
    path = Path(declared)
    return isinstance(base, OnDisk) and path.is_dir() and path.resolve() == base.path.resolve()
