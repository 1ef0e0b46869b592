"""The lab: families of tiny models trained from scratch, shipped with consort, and the tasks they are measured on.

    >>> from consort import lab
    >>> lab.path("base").name
    'base'

Importing this package imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from consort.core.errors import UnknownName, did_you_mean

if TYPE_CHECKING:
    from consort.lab.manifest import Mismatch

__all__ = ["names", "path", "tasks", "train", "verify"]

_ZOO = Path(__file__).parent / "zoo"


def names() -> list[str]:
    """The shipped models and adapters, sorted."""
    return sorted(file.parent.name for kind in ("config", "adapter_config") for file in _ZOO.glob(f"*/{kind}.json"))


def tasks() -> list[str]:
    """The shipped tasks, sorted; each is a folder `tasks/NAME` of the zoo."""
    return sorted(file.parent.name for file in _ZOO.glob("tasks/*/task.yml"))


def path(name: str | None = None) -> Path:
    """The folder of a shipped model ("base") or task ("tasks/skills"); without a name, the zoo's own.

    Raises UnknownName, with the nearest name there is.
    """
    if name is None:
        return _ZOO
    known = [*names(), *(f"tasks/{task}" for task in tasks())]
    if name not in known:
        raise UnknownName(f"no lab model or task named {name!r}", field="name", hint=did_you_mean(name, known))
    return _ZOO / name


def train(seed: int = 0, out: Path | str = "lab-zoo", *, parts: Collection[str] | None = None) -> Path:
    """Train the whole zoo (or some `parts` of `lab.build.PARTS`) into the folder `out` and write its manifest.

    The parts of `lab.build.ON_DEMAND` (`compose`, `domains`, `halves`, `others`) are not shipped and come only by name.
    Takes some twenty minutes on one processor. Killed and called again, it goes on where it was; what is finished is
    kept. The same seed gives the same tasks, and weights equal up to the rounding of the processor's arithmetic.
    """
    from consort.lab.build import build

    return build(Path(out), seed, parts)


def verify(zoo: Path | str | None = None) -> list[Mismatch]:
    """The files of a zoo (default: the shipped one) that differ from its manifest; none, if all is well."""
    from consort.lab.manifest import mismatches

    return mismatches(_ZOO if zoo is None else Path(zoo))
