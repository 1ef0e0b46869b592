"""The base of an adapter's folder, by its own word: looked for on this machine, never fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from consort.plan.schemes import HUB


def base_by_word(folder: Path) -> str | None:
    """The reference of the base that an adapter's folder names, where that lies here; None for a model's folder.

    That is the folder of the path that it gives, one of the same name beside the adapter or one folder above, or a
    repository in the local cache of the hub.
    """
    from consort.weights import declared_base, is_adapter

    if not is_adapter(folder):
        return None
    named = declared_base(folder)
    for place in (place for name in named for place in _places(folder, name)):
        if (place / "config.json").is_file() and not is_adapter(place):
            return str(place)
    return next((f"{HUB}{name}" for name in named if _is_cached(name)), None)


def base_among(folder: Path, references: Sequence[str], labels: Sequence[str]) -> str | None:
    """The one of several models that an adapter's folder names by the last part of its name; None unless it is one."""
    from consort.weights import declared_base

    for name in declared_base(folder):
        last = PurePath(name).name.lower()
        found = [ref for ref, label in zip(references, labels, strict=True) if PurePath(label).name.lower() == last]
        if len(found) == 1:
            return found[0]
    return None


def _places(folder: Path, name: str) -> Iterator[Path]:
    path = Path(name).expanduser()
    yield from [path] if path.is_absolute() or len(path.parts) > 1 else []
    last = path.name
    if last:
        yield from (above / last for above in (folder.parent, folder.absolute().parent.parent))


def _is_cached(name: str) -> bool:
    """Whether the hub's cache has the configuration of a repository."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if name.count("/") != 1:
        return False
    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False
