"""Save any checkpoint as a Hugging Face folder, with the plan that made it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consort.core.errors import Unsupported
from consort.core.files import check_place
from consort.core.kinds import check_referred
from consort.plan import to_plan

if TYPE_CHECKING:
    from consort.weights import Written
    from consort.weights.checkpoint import Checkpoint


def save(checkpoint: Checkpoint, out: str | Path, **options: Any) -> Written:
    """Stream `checkpoint` to the folder `out`; `options` are those of `consort.weights.write`.

    >>> import consort
    >>> merged = consort.merge("linear", [consort.load("lab:mirror"), consort.load("lab:order")])
    >>> written = consort.save(merged, "merged")
    >>> written.path.name, consort.load("merged").keys() == merged.keys()
    ('merged', True)
    """
    from consort.weights import write

    check_referred("checkpoint", checkpoint, "checkpoint")
    check_place(out)
    try:
        plan = to_plan(checkpoint)
    except Unsupported:
        plan = None
    return write(checkpoint, Path(out), plan=plan, seed=getattr(checkpoint, "seed", 0), **options)
