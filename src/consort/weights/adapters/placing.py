"""Where an adapter's changes go in its base: peft names modules as they are loaded, files may call them otherwise."""

from __future__ import annotations

from consort.core.errors import Incompatible, Unsupported
from consort.weights.adapters.changes import Changes, fit_changes, lost, read_changes, renamed
from consort.weights.adapters.peft_config import PeftConfig, peft_config
from consort.weights.architecture.loaded import Loaded
from consort.weights.checkpoint import Checkpoint


def placed(base: Checkpoint, adapter: Checkpoint) -> tuple[Checkpoint, Changes]:
    """The base, and what `adapter` changes under its names.

    Where names differ from those on disk by no more than a renaming, the base stays as it is; where several tensors on
    disk are one when loaded (stacked experts), the base is read as it is loaded. Raises BadCheckpoint, Incompatible,
    Unsupported.
    """
    config = peft_config(adapter)
    loaded = Loaded(base) if config.parameters else None
    if loaded is None:
        changes = read_changes(adapter)
        if not lost(base, changes):
            return base, fit_changes(base, adapter, changes)
        try:
            loaded = Loaded(base)
        except Unsupported:  # the names on disk are all there is
            return base, fit_changes(base, adapter, changes)
    else:
        changes = read_changes(adapter, _resolver(loaded, config))
    if lost(loaded, changes):
        return base, fit_changes(base, adapter, changes)
    known = set(loaded.keys())
    on_disk = {name: loaded.name_on_disk(name) for name in (*changes.low_rank, *changes.replaced) if name in known}
    if None in on_disk.values():
        return loaded, fit_changes(loaded, adapter, changes)
    moved = renamed(changes, lambda name: on_disk.get(name) or name)
    return base, fit_changes(base, adapter, moved)


class _resolver:
    """Finds the parameter that wrappers around a module change: peft nests them in the order of its parameters."""

    def __init__(self, loaded: Loaded, config: PeftConfig) -> None:
        self.loaded, self.config = loaded, config

    def __call__(self, module: str, depth: int, wrappers: int) -> tuple[str, int, bool] | None:
        if not self.loaded.has_module(module):
            return None
        named = [f"{module}.{name}" for name in self.loaded.parameters(module)]
        wanted = self.config.parameters
        targeted = [name for name in named if any(name == one or name.endswith(f".{one}") for one in wanted)]
        if not targeted:
            return None
        if len(targeted) != wrappers or depth >= wrappers:
            message = f"{wrappers} of {len(targeted)} targeted parameters of {module} have factors"
            raise Incompatible(
                message, field=self.config.at, hint="weights and configuration are of different adapters"
            )
        name = targeted[wrappers - 1 - depth]
        shape = self.loaded.spec(name).shape
        stacked = len(shape) == 3
        return name, shape[0] if stacked else 1, stacked and self.loaded.stored_transposed(module)
